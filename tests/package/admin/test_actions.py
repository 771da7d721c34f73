"""What the buttons do: warm, invalidate, pause, audit; and what is said and logged of it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from tests.package.admin.pages import (
    JOBS,
    OVERVIEW,
    POSTS,
    PROJECT,
    RUNS,
    act,
    log,
    observation,
    row,
    state_of,
    text_of,
)
from tests.support.waiting import waiting
from warmer import runs, warm
from warmer.models import JobObservation, State, Trigger, WarmingRun
from warmer.monitoring.observation import observe_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_warm__one_leads_to_the_page_of_its_run(operator: Client, make_user: Any) -> None:
    user = make_user()
    answer = act(operator, "warm user_profiles")
    run = WarmingRun.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, f"{RUNS}{run.pk}/change/")
    assert (run.job, run.trigger, run.state) == ("user_profiles", "admin", State.COMPLETE)
    assert run.requested_by == "olga"
    assert cache.get(f"user:{user.pk}:profile")["username"] == user.username
    assert log() == [("olga", "user_profiles", f"Requested run {run.pk} of user_profiles: complete.")]


@pytest.mark.parametrize(("jobs", "warmed"), [(("posts", "popular_posts"), {"posts", "popular_posts"}), ("*", PROJECT)])
def test_warm__several_or_all_lead_to_the_list_of_runs(operator: Client, jobs: Any, warmed: set[str]) -> None:
    answer = act(operator, "warm *") if jobs == "*" else act(operator, "warm", *jobs)
    assert answer["Location"] == RUNS
    assert {run.job for run in WarmingRun.objects.all()} == warmed


def test_warm__reason_is_logged_on_one_line_and_escaped(operator: Client) -> None:
    act(operator, "warm posts", why="  after\0the\nimport <b>" + "x" * 300)
    ((_, _, message),) = log()
    assert "after the import <b>xxx" in message
    assert len(message) < 260
    assert "after the import &lt;b&gt;xxx" in operator.get(POSTS).content.decode()


def test_warm__run_that_has_not_ended_is_joined(operator: Client) -> None:
    under_way = runs.open_run("posts", Trigger.SCHEDULE).run
    answer = act(operator, "warm posts")
    assert answer["Location"] == f"{RUNS}{under_way.pk}/change/"
    assert log() == [("olga", "posts", f"Joined run {under_way.pk} of posts (schedule), which had not ended.")]
    assert WarmingRun.objects.count() == 1


def test_warm__without_the_right_to_see_runs_stays_on_the_page(log_in: Callable[..., Client]) -> None:
    client = log_in("warm_job")
    data = {"action": "warm posts"}
    assert client.post(POSTS, data, follow=True).redirect_chain == [(POSTS, 302)]
    chain = client.post(f"{JOBS}?q=post&state=cold", data, follow=True).redirect_chain
    assert chain[-1] == (f"{OVERVIEW}?q=post&state=cold", 302)
    assert WarmingRun.objects.count() == 2


def test_invalidate__asks_first_then_deletes_the_keys_of_the_selected_jobs(operator: Client, make_user: Any) -> None:
    key = f"user:{make_user().pk}:profile"
    cache.set_many({"popular_posts": ["old"], key: {"username": "old"}, "other": 1})
    observation("popular_posts", declared=1, hits_hour=2_000, misses_hour=400, hits_day=9_000, misses_day=0)
    page = act(operator, "invalidate popular_posts", why="wrong").content.decode()
    assert "every key of this job from the cache" in text_of(page)
    assert "1 declared key, 2,400 reads in the last hour" in text_of(page)
    assert 'name="job" value="popular_posts"' in page
    assert 'value="wrong"' in page
    assert cache.get("popular_posts") == ["old"]
    assert log() == []
    act(operator, "invalidate", "popular_posts", "user_profiles", confirmed="yes", why="wrong")
    assert cache.get_many(["popular_posts", key, "other"]) == {"other": 1}
    assert log() == [
        ("olga", "popular_posts", "Invalidated every key of popular_posts. Reason: wrong"),
        ("olga", "user_profiles", "Invalidated every key of user_profiles. Reason: wrong"),
    ]
    assert not waiting()


def test_invalidate__forgets_what_was_observed_of_the_keys(operator: Client) -> None:
    for job in ("posts", "popular_posts"):
        observation(job, hits_day=3, misses_day=1)
    before = JobObservation.objects.get(job="posts").attempted_at
    act(operator, "invalidate posts", confirmed="yes")
    assert state_of(operator, "posts") == "unknown"
    assert "100 %" not in row(operator, "posts")
    assert "75 % day 4 reads" in row(operator, "posts")
    assert JobObservation.objects.get(job="posts").attempted_at == before
    assert state_of(operator, "popular_posts") == "warm"
    observe_all(seconds=10)
    assert JobObservation.objects.get(job="posts").observed_at is not None


def test_cache__away__fails_a_run_and_records_an_invalidation(olga: Client, redis_server: RedisServer) -> None:
    redis_server.stop()
    act(olga, "warm popular_posts")
    answer = act(olga, "invalidate popular_posts", confirmed="yes")
    failed, recorded = get_messages(answer.wsgi_request)
    assert (failed.level_tag, recorded.level_tag) == ("error", "warning")
    assert f": failed. {WarmingRun.objects.get().error}" in str(failed)
    assert waiting() == [("popular_posts", None)]
    assert [message for _, _, message in log()] == [str(failed), str(recorded)]
    redis_server.start()


@pytest.mark.parametrize(("is_down", "level"), [(False, "info"), (True, "warning")])
def test_invalidate__left_to_a_worker_warns_only_if_the_cache_does_not_answer(
    olga: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, is_down: bool, level: str
) -> None:
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: None)
    if is_down:
        redis_server.stop()
    (message,) = get_messages(act(olga, "invalidate posts", confirmed="yes").wsgi_request)
    assert message.level_tag == level
    assert waiting() == [("post:{id}", None)]


def test_invalidate__in_the_transaction_of_a_request(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: asked.append(connection.in_atomic_block))
    with transaction.atomic():
        answer = act(operator, "invalidate", "popular_posts", "posts", confirmed="yes")
        assert len(waiting()) == 2
    assert [each.level_tag for each in get_messages(answer.wsgi_request)] == ["warning", "info"]
    assert ("post:{id}", None) in waiting()  # a worker sweeps
    assert asked == [False]


def test_pause__pauses_and_resumes(operator: Client) -> None:
    others = list(PeriodicTask.objects.exclude(name="warm posts").order_by("id").values())
    act(operator, "pause posts", why="load")
    assert not PeriodicTask.objects.get(name="warm posts").enabled
    assert state_of(operator, "posts") == "paused"
    assert 'aria-label="Resume posts"' in operator.get(OVERVIEW).content.decode()
    act(operator, "warm posts")
    assert WarmingRun.objects.get().state == State.COMPLETE
    act(operator, "resume posts")
    assert PeriodicTask.objects.get(name="warm posts").enabled
    assert state_of(operator, "posts") != "paused"
    assert [message for _, _, message in log()] == [
        "Paused posts: the schedule skips it. Reason: load",
        f"Requested run {WarmingRun.objects.get().pk} of posts: complete.",
        "Resumed posts: the schedule warms it again.",
    ]
    assert list(PeriodicTask.objects.exclude(name="warm posts").order_by("id").values()) == others


def test_pause__of_a_job_without_a_schedule_is_an_error(operator: Client) -> None:
    warm("x", name="x", every=None)(lambda: 1)
    (message,) = get_messages(act(operator, "pause x").wsgi_request)
    assert message.level_tag == "error"
    assert "x is not scheduled" in str(message)
    assert log() == []


def test_many__are_counted_instead_of_listed(operator: Client) -> None:
    names = [f"job{number}" for number in range(12)]
    for name in names:
        warm(f"key:{name}", name=name)(lambda: 1)
    said = list(get_messages(act(operator, "pause", *names).wsgi_request))
    assert len(said) == 11
    assert "2 more jobs" in str(said[-1])
    assert len(log()) == 12
