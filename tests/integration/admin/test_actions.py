"""What the overview's buttons do: warm, invalidate, pause, audit; and what is said and logged of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from tests.integration.admin.pages import (
    AUDIT,
    INVALIDATE,
    JOBS,
    OVERVIEW,
    PAUSE,
    PROJECT,
    RESUME,
    RUNS,
    WARM,
    log,
    row,
    run_of,
    state_of,
)
from tests.integration.waiting import waiting
from warmer import jobs, runs, warm, warm_many
from warmer.models import CacheAudit, JobObservation, State, Trigger, WarmingRun
from warmer.monitoring.observation import observe_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_warm__one_ends_on_the_runs_page(operator: Client, make_user: Any) -> None:
    user = make_user()
    answer = operator.post(WARM, {"only": "user_profiles"})
    run = WarmingRun.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"{RUNS}{run.pk}/change/"
    assert (run.job, run.trigger, run.state) == ("user_profiles", "admin", State.COMPLETE)
    assert run.requested_by is not None
    assert cache.get(f"user:{user.pk}:profile")["username"] == user.username
    page = operator.get(answer["Location"]).content.decode()
    assert "user_profiles" in page
    assert "complete" in page
    assert log() == [("olga", "user_profiles", f"Warm now: run {run.pk}.")]


def test_warm__several_end_on_their_runs(operator: Client) -> None:
    answer = operator.post(WARM, {"job": ["posts", "popular_posts"]}, follow=True)
    assert {run.job for run in WarmingRun.objects.all()} == {"posts", "popular_posts"}
    assert answer.status_code == 200
    assert answer.content.decode().count("/change/") == 2


def test_warm__all(operator: Client) -> None:
    operator.post(WARM, {"all": "1"})
    assert {run.job for run in WarmingRun.objects.all()} == PROJECT


def test_warm__why_is_logged(operator: Client) -> None:
    operator.post(WARM, {"only": "posts", "why": "  after the\nimport <b>" + "x" * 300})
    ((_, _, message),) = log()
    assert "Why: after the import <b>xxx" in message
    assert len(message) < 260
    page = operator.get(f"{JOBS}posts/schedule/").content.decode()
    assert "after the import &lt;b&gt;xxx" in page


def test_warm__one_that_is_under_way_is_joined_and_said(operator: Client) -> None:
    under_way = runs.open_run("posts", Trigger.SCHEDULE).run
    page = operator.post(WARM, {"only": "posts"}, follow=True).content.decode()
    assert f"Already being warmed: posts, by run {under_way.pk} (schedule)" in page
    assert WarmingRun.objects.count() == 1


def test_warm__failed_run_is_said(operator: Client, redis_server: RedisServer) -> None:
    redis_server.stop()
    warm_many("x:{id}", ids=lambda: [1], name="x")(lambda ids: {1: 1})
    run = operator.post(WARM, {"only": "x"})
    redis_server.start()
    page = operator.get(run["Location"]).content.decode()
    assert "is failed" in page
    assert "does not answer" in page


def test_warm__without_the_right_to_see_runs_ends_on_the_overview(log_in: Callable[..., Client]) -> None:
    answer = log_in("warm_job").post(WARM, {"only": "posts"}, follow=True)
    assert answer.redirect_chain[-1][0] == OVERVIEW
    assert WarmingRun.objects.count() == 1
    assert "Asked for run" in answer.content.decode() or "is complete" in answer.content.decode()


def test_invalidate__asks_first(operator: Client) -> None:
    cache.set("popular_posts", ["old"])
    page = operator.post(INVALIDATE, {"only": "popular_posts", "why": "wrong"}).content.decode()
    assert "are you sure" in page
    assert 'name="job" value="popular_posts"' in page
    assert 'value="wrong"' in page
    assert cache.get("popular_posts") == ["old"]
    assert log() == []


def test_invalidate__deletes_the_keys_of_the_chosen_jobs(operator: Client, make_user: Any) -> None:
    user = make_user()
    key = f"user:{user.pk}:profile"
    cache.set_many({"popular_posts": ["old"], key: {"username": "old"}, "other": 1})
    answer = operator.post(
        INVALIDATE,
        {"job": ["popular_posts", "user_profiles"], "confirmed": "yes", "why": "wrong"},
        follow=True,
    )
    assert cache.get_many(["popular_posts", key, "other"]) == {"other": 1}
    assert "Invalidated: every key of popular_posts" in answer.content.decode()
    assert log() == [
        ("olga", "popular_posts", "Invalidated every key. Why: wrong"),
        ("olga", "user_profiles", "Invalidated every key. Why: wrong"),
    ]
    assert not waiting()


def test_invalidate__voids_what_was_seen_of_the_keys_before(operator: Client) -> None:
    attempted_at = timezone.now() - timedelta(seconds=20)
    for job in ("posts", "popular_posts"):
        JobObservation.objects.create(
            job=job,
            attempted_at=attempted_at,
            observed_at=attempted_at,
            sampled=4,
            cached=4,
            hits_day=3,
            misses_day=1,
        )
    operator.post(INVALIDATE, {"only": "posts", "confirmed": "yes"})
    assert state_of(operator, "posts") == "unknown"
    assert "invalidated, not looked at since" in row(operator, "posts")
    assert "100 %" not in row(operator, "posts")
    assert "75 % day" in row(operator, "posts")
    assert JobObservation.objects.get(job="posts").attempted_at == attempted_at
    assert "not since the keys were invalidated" in operator.get(f"{JOBS}posts/schedule/").content.decode()
    assert state_of(operator, "popular_posts") == "warm"
    observe_all(seconds=10)
    assert "invalidated" not in row(operator, "posts").removesuffix("Invalidate \u2026")


def test_invalidate__cache_that_is_away_is_said_and_it_is_kept(
    operator: Client, redis_server: RedisServer, settings: Any
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    operator.force_login(LogEntry.user.field.related_model.objects.get(username="olga"))
    redis_server.stop()
    answer = operator.post(INVALIDATE, {"only": "popular_posts", "confirmed": "yes"}, follow=True)
    assert "is invalidated by a worker" in answer.content.decode()
    assert waiting() == [("popular_posts", None)]
    assert log() == [("olga", "popular_posts", "Asked for every key to be invalidated.")]
    redis_server.start()


def test_invalidate__in_the_transaction_of_a_request(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: asked.append(connection.in_atomic_block))
    with transaction.atomic():
        answer = operator.post(INVALIDATE, {"job": ["popular_posts", "posts"], "confirmed": "yes"})
        assert len(waiting()) == 2
    said = [str(each) for each in get_messages(answer.wsgi_request)]
    assert [each.partition(" is ")[0] for each in said] == [
        "Asked for: every key of popular_posts",
        "Asked for: every key of posts",
    ]
    assert ("post:{id}", None) in waiting()  # a worker sweeps
    assert asked == [False]


def test_pause__pauses_and_resumes(operator: Client) -> None:
    page = operator.post(PAUSE, {"only": "posts", "why": "load"}, follow=True).content.decode()
    assert "Paused: posts. The schedule leaves it alone; changes, deploys and people still warm it." in page
    assert not PeriodicTask.objects.get(name="warm posts").enabled
    assert state_of(operator, "posts") == "paused"
    assert "paused: only people, deploys and changes warm it" in row(operator, "posts")
    assert 'aria-label="Resume posts"' in operator.get(OVERVIEW).content.decode()
    operator.post(WARM, {"only": "posts"})
    assert WarmingRun.objects.get().state == State.COMPLETE
    operator.post(RESUME, {"only": "posts"})
    assert PeriodicTask.objects.get(name="warm posts").enabled
    assert state_of(operator, "posts") != "paused"
    assert [message for _, _, message in log()] == [
        "Paused the schedule. Why: load",
        f"Warm now: run {WarmingRun.objects.get().pk}.",
        "Resumed the schedule.",
    ]


def test_pause__twice_changes_nothing(operator: Client) -> None:
    operator.post(PAUSE, {"only": "posts"})
    page = operator.post(PAUSE, {"only": "posts"}, follow=True).content.decode()
    assert "Paused already: posts" in page
    assert len(log()) == 1


def test_pause__others_are_left_alone(operator: Client) -> None:
    others = PeriodicTask.objects.exclude(name="warm posts").order_by("id")
    before = list(others.values())
    operator.post(PAUSE, {"only": "posts"})
    assert list(others.values()) == before


def test_pause__job_that_is_not_scheduled(operator: Client) -> None:
    warm("loose", name="loose", every=None)(lambda: 1)
    page = operator.post(PAUSE, {"only": "loose"}, follow=True).content.decode()
    assert "loose is not scheduled" in page
    assert log() == []


def test_pause__of_a_failed_job_is_said_beside_the_failure(operator: Client) -> None:
    run_of("posts", State.FAILED)
    operator.post(PAUSE, {"only": "posts"})
    assert state_of(operator, "posts") == "failed"
    assert "paused:" in row(operator, "posts")


def test_audit__of_several_jobs(operator: Client, make_post: Any) -> None:
    make_post()
    jobs["posts"].warm()  # type: ignore[attr-defined]
    page = operator.post(AUDIT, {"job": ["posts", "popular_posts"]}, follow=True).content.decode()
    assert "Asked for an audit of posts" in page
    found = {audit.job: audit for audit in CacheAudit.objects.all()}
    assert set(found) == {"posts", "popular_posts"}
    assert (found["posts"].trigger, found["posts"].right, found["posts"].wrong) == ("admin", 1, 0)
    assert {message for _, _, message in log()} == {"Asked for an audit."}
