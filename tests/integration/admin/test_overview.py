"""The overview: how each job does, from its runs, its looks and its audits."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.integration.admin.pages import (
    JOBS,
    OVERVIEW,
    OVERVIEW_ALONE,
    PROJECT,
    RUNS,
    WARM,
    listed,
    row,
    run_of,
    state_of,
)
from tests.integration.waiting import make_waiting, uncaptured, without_triggers
from users.models import CustomUser
from warmer import jobs, runs, warm_many
from warmer.invalidation import captures_by_triggers
from warmer.models import CacheAudit, ChangeRecord, JobObservation, State, Trigger
from warmer.monitoring import audit as auditing
from warmer.monitoring.observation import observe, observe_all
from warmer.report import Report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_overview__lists_what_is_declared_with_its_runs(operator: Client) -> None:
    runs.fail(runs.open_run("posts", Trigger.COMMAND).run, "broken")
    for url in (OVERVIEW, JOBS):
        assert "failed" in row(operator, "posts", url)
        assert "never run" in row(operator, "popular_posts", url)
        assert 'title="every 15 minutes"' in operator.get(url).content.decode()
        assert "next in 15 min" in row(operator, "user_profiles", url)


def test_overview__says_how_much_is_cached_and_how_old(operator: Client, make_user: Any) -> None:
    for _ in range(4):
        make_user()
    jobs["user_profiles"].warm()  # type: ignore[attr-defined]
    observe_all(seconds=10)
    assert "100 % oldest" in row(operator, "user_profiles")
    assert "seen 0 s ago" in row(operator, "user_profiles")
    assert state_of(operator, "user_profiles") == "warm"
    cache.delete_many(cache.keys("user:*:profile")[:3])
    observe_all(seconds=10)
    assert state_of(operator, "user_profiles") == "partly"
    cache.delete_many(cache.keys("user:*:profile"))
    observe_all(seconds=10)
    assert state_of(operator, "user_profiles") == "cold"
    assert "0 % seen" in row(operator, "user_profiles")


def test_overview__says_how_often_reads_hit(operator: Client) -> None:
    JobObservation.objects.create(
        job="posts",
        observed_at=timezone.now(),
        hits_hour=3,
        misses_hour=1,
        hits_day=9_999,
        misses_day=1,
        sampled=4,
        cached=4,
    )
    assert "75 % hour 99.9 % day" in row(operator, "posts")
    assert "not counted" in row(operator, "popular_posts")


def test_overview__says_how_many_warm_keys_are_read(operator: Client) -> None:
    JobObservation.objects.create(
        job="posts",
        observed_at=timezone.now(),
        sampled=4,
        cached=4,
        watched=200,
        watched_read=30,
        watched_share=0.5,
        watched_misses=7,
    )
    assert "15 % used" in row(operator, "posts")
    assert "used" not in row(operator, "popular_posts")
    page = operator.get(f"{JOBS}posts/schedule/").content.decode()
    assert "15\N{NO-BREAK SPACE}%, give or take 6.9\N{NO-BREAK SPACE}%" in page
    assert "about 14" in page


def test_overview__says_why_a_look_failed(operator: Client) -> None:
    JobObservation.objects.create(
        job="posts",
        error="StoreUnavailable: <b>away</b>",
        observed_at=timezone.now(),
        sampled=1,
        cached=1,
    )
    assert "StoreUnavailable: &lt;b&gt;away" in row(operator, "posts")


def test_overview__a_first_look_that_failed_is_not_no_look(operator: Client) -> None:
    def ids() -> list[int]:
        raise RuntimeError("ids broke")

    warm_many("x:{id}", ids=ids, name="x")(lambda ids: {})
    assert "not looked at yet" in row(operator, "x")
    observe_all(seconds=10)
    assert "the look failed RuntimeError: ids broke" in row(operator, "x")
    assert "not looked at yet" not in row(operator, "x")
    page = operator.get(f"{JOBS}x/schedule/").content.decode()
    assert re.search(r"never with success; \d\xa0s\xa0ago that failed: ", page)


@pytest.mark.usefixtures("impatient_cache")
@pytest.mark.parametrize("how", ["hung", "away"])
def test_overview__state_is_unknown_while_the_cache_does_not_answer(
    operator: Client, redis_server: RedisServer, settings: Any, how: str
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    operator.force_login(CustomUser.objects.get(username="olga"))
    JobObservation.objects.create(
        job="posts", observed_at=timezone.now() - timedelta(minutes=3), sampled=4, cached=4
    )
    assert state_of(operator, "posts") == "warm"
    if how == "hung":
        redis_server.pause()
    else:
        redis_server.stop()
    observe(jobs["posts"].spec)
    assert state_of(operator, "posts") == "unknown"
    assert listed(operator, state="unknown") >= {"posts"}
    assert listed(operator, state="warm") == set()
    # What was seen last is still said, with its age.
    assert "100 % seen 3 min ago StoreUnavailable: The cache" in row(operator, "posts")


def test_overview__says_when_a_run_ended_after_the_look(operator: Client) -> None:
    seen = timezone.now()
    JobObservation.objects.create(job="posts", observed_at=seen, sampled=4, cached=0)
    run_of("posts", finished_at=seen - timedelta(seconds=1))
    assert "before run" not in row(operator, "posts")
    run = run_of("posts", finished_at=seen + timedelta(seconds=1))
    assert f"seen 0 s ago before run {run.pk} ended" in row(operator, "posts")


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (State.FAILED, "failed"),
        (State.LOST, "failed"),
        (State.EXPIRED, "failed"),
        (State.INCOMPLETE, "partly"),
        (State.COMPLETE, "warm"),
        (State.CANCELLED, "warm"),
    ],
)
def test_overview__state_is_that_of_the_last_run_then_of_the_cache(
    operator: Client, state: State, shown: str
) -> None:
    JobObservation.objects.create(job="posts", observed_at=timezone.now(), sampled=4, cached=4)
    run_of("posts", State.FAILED)
    run_of("posts", state)
    assert state_of(operator, "posts") == shown


def test_overview__state_running_says_how_far(operator: Client) -> None:
    run = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert run is not None
    runs.expect(run, batches=4, report=Report(job="posts"))
    runs.record_batches(run, {1: Report(job="posts", batches=1, written=3)})
    assert state_of(operator, "posts") == "running"
    assert "1 of 4 batches" in row(operator, "posts")


def test_overview__mean_duration_is_of_complete_runs_and_drawn_with_all(operator: Client) -> None:
    for seconds in (1, 3):
        run_of("posts", seconds=seconds)
    run_of("posts", State.FAILED, seconds=90)
    assert "2.00 s" in row(operator, "posts")
    page = operator.get(OVERVIEW).content.decode()
    assert page.count('<rect class="warmer-bar-complete"') == 2
    assert page.count('<rect class="warmer-bar-failed"') == 1
    assert 'aria-label="The last 3 runs took up to 90.00 s"' in page


def test_overview__pending_invalidations(operator: Client) -> None:
    make_waiting("posts", [1])
    ChangeRecord.objects.create(source="myapp_post")  # on which two jobs depend
    ChangeRecord.objects.create(source="a_table_of_another_release")
    assert "2 pending" in row(operator, "posts")
    assert "1 pending" in row(operator, "popular_posts")
    assert "0 pending" in row(operator, "user_profiles")
    assert "2 invalidations\n  waiting" in operator.get(OVERVIEW).content.decode()


def test_overview__tables_without_triggers(operator: Client) -> None:
    assert "warm_triggers" not in operator.get(OVERVIEW).content.decode()
    with without_triggers():
        page = operator.get(OVERVIEW).content.decode()
        assert ("users_customuser has no triggers" in page) is captures_by_triggers()


def test_overview__last_audit(operator: Client, make_post: Any) -> None:
    post = make_post()
    jobs["posts"].warm()  # type: ignore[attr-defined]
    auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
    assert "100 % 0 s ago" in row(operator, "posts")
    with uncaptured():
        Post.objects.filter(pk=post.pk).update(title="Behind the back")
    auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
    assert "0 % 1 wrong, 0 s ago" in row(operator, "posts")
    audit = CacheAudit.objects.latest("id")
    page = operator.get(f"/admin/warmer/cacheaudit/{audit.pk}/change/").content.decode()
    assert f"post:{post.pk}" in page
    assert "title" in page
    assert "Behind the back" not in page


def test_overview__audit_that_found_keys_missing_says_how_many(operator: Client, make_post: Any) -> None:
    posts = [make_post() for _ in range(3)]
    auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
    assert "3 missing 0 s ago" in row(operator, "posts")
    jobs["posts"].warm([posts[0].pk])  # type: ignore[attr-defined]
    auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
    assert "100 % 2 missing, 0 s ago" in row(operator, "posts")


def test_overview__search_and_choice_of_a_state(operator: Client) -> None:
    run_of("posts", State.FAILED)
    assert listed(operator, q="POST") == {"popular_posts", "posts"}
    assert listed(operator, state="failed") == {"posts"}
    assert "No job is so" in operator.get(OVERVIEW, {"q": "<script>alert(1)"}).content.decode()
    assert "<script>alert" not in operator.get(OVERVIEW, {"q": "<script>alert(1)"}).content.decode()


def test_overview__page_that_is_no_number(operator: Client) -> None:
    assert listed(operator, p="x") == PROJECT


def test_overview__no_inline_script_or_style(operator: Client) -> None:
    run_of("posts")
    page = operator.get(OVERVIEW).content.decode()
    content = page[page.index('<div id="content"') : page.index("<!-- END Content -->")]
    assert "<script" not in content
    assert "<style" not in page
    assert not re.search(r'\s(style|on\w+)="', content)


def test_overview__index_leads_here(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()
    for url in (OVERVIEW, JOBS, RUNS):
        assert f'"{url}"' in page


@pytest.mark.parametrize("url", [OVERVIEW, JOBS, OVERVIEW_ALONE])
def test_overview__a_name_breaks_at_its_underscores_first(operator: Client, url: str) -> None:
    assert ">user_<wbr>profiles</a>" in operator.get(url).content.decode()


def test_overview_alone__is_the_same_and_leaves_messages_to_the_page(operator: Client) -> None:
    run_of("posts", State.FAILED)
    assert operator.post(WARM).status_code == 302  # no job was chosen, as the next page will say
    for query in ({}, {"q": "post"}, {"state": "failed"}, {"q": "none"}):
        alone = operator.get(OVERVIEW_ALONE, query).content.decode()
        assert "<html" not in alone
        assert "No job was chosen" not in alone
        page = operator.get(OVERVIEW, query).content.decode()
        assert listed(operator, OVERVIEW_ALONE, **query) == listed(operator, **query)
        assert ("No job was chosen" in page) == (query == {})
    assert "failed" in row(operator, "posts", OVERVIEW_ALONE)


def test_overview_alone__is_refused_without_a_permission_and_without_a_login(
    log_in: Callable[..., Client], client: Client
) -> None:
    assert log_in("view_warmingrun").get(OVERVIEW_ALONE).status_code == 403
    assert client.get(OVERVIEW_ALONE).status_code == 302
