"""The overview: how each job does, from its runs, observations and audits; and what that costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.package.admin.pages import (
    AUDITS,
    JOBS,
    OVERVIEW,
    PROJECT,
    RUNS,
    act,
    listed,
    report,
    row,
    run_of,
    state_of,
    text_of,
)
from tests.support.waiting import make_waiting, uncaptured, without_triggers
from users.models import CustomUser
from warmer import jobs, runs, warm, warm_many
from warmer.invalidation import captures_by_triggers
from warmer.models import CacheAudit, ChangeRecord, JobObservation, State, Trigger, WarmingRun
from warmer.monitoring import audit as auditing
from warmer.monitoring.observation import observe, observe_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def observation(job: str, **fields: Any) -> JobObservation:
    return JobObservation.objects.create(
        job=job, **{"observed_at": timezone.now(), "sampled": 4, "cached": 4} | fields
    )


@pytest.fixture
def new_schedule() -> None:
    """A schedule whose intervals begin now, as after `migrate`."""
    PeriodicTask.objects.update(date_changed=timezone.now())


@pytest.mark.usefixtures("new_schedule")
def test_page(golden: Callable[..., None], operator: Client) -> None:
    observation("posts", hits_hour=3, misses_hour=1, hits_day=9_999, misses_day=1, overtaken_hour=0.9)
    observation("popular_posts", error="StoreUnavailable: <b>away</b>")
    run = run_of("posts", seconds=2)
    run_of("user_profiles", State.FAILED)
    make_waiting("posts", [1])
    counts = {"sampled": 5, "right": 5, "wrong": 0, "missing": 0, "no_value": 0, "changed": 0, "failed": 0}
    CacheAudit.objects.create(
        job="posts",
        trigger="admin",
        started_at=timezone.now(),
        whole=False,
        undeclared=0,
        repaired=0,
        queries=1,
        **counts,
    )
    act(operator, "pause popular_posts")
    warm("x", name="x", every=None, required=False)(lambda: 1)
    texts = [text_of(operator.get(OVERVIEW, query).content.decode()) for query in ({}, {"q": "nothing"})]
    masks = {
        r"[\d.]+ MiB": "N MiB",
        r"oldest \d s$": "oldest N s",
        rf"run ({run.pk}|{run.pk + 1})\b": "run N",
        r"\d+ s ago": "N s ago",
    }
    golden("admin_overview", "\n\n".join(texts), masks=masks)


def test_run__next_is_counted_from_the_last_scheduled_run(operator: Client) -> None:
    # Beat saves when it last sent something every three minutes.
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(minutes=16))
    assert "next now" in row(operator, "posts")
    run_of("posts")
    run_of("posts", trigger=Trigger.ADMIN)
    assert "next in 15 min" in row(operator, "posts")
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(hours=2))
    assert "next overdue by 105 min" in row(operator, "user_profiles")


@pytest.mark.usefixtures("new_schedule")
def test_run__last_and_next(operator: Client) -> None:
    runs.fail(runs.open_run("posts", Trigger.COMMAND).run, "broken")
    assert "failed" in row(operator, "posts")
    assert "never run" in row(operator, "popular_posts")
    assert 'title="every 15 minutes"' in operator.get(OVERVIEW).content.decode()
    assert "next in 15 min" in row(operator, "user_profiles")


def test_cache__coverage_is_the_state(operator: Client, make_user: Any) -> None:
    for _ in range(4):
        make_user()
    jobs["user_profiles"].warm()
    observe_all(seconds=10)
    assert "100 % oldest" in row(operator, "user_profiles")
    assert state_of(operator, "user_profiles") == "warm"
    cache.delete_many(cache.keys("user:*:profile")[:3])
    observe_all(seconds=10)
    partial = state_of(operator, "user_profiles")
    assert partial.startswith("part")
    cache.delete_many(cache.keys("user:*:profile"))
    observe_all(seconds=10)
    assert state_of(operator, "user_profiles") == "cold"


def test_cache__effectiveness(operator: Client) -> None:
    observation("posts", watched=200, watched_read=30, watched_share=0.5, watched_misses=7)
    assert "15 % used" in row(operator, "posts")
    assert "used" not in row(operator, "popular_posts")


def test_cache__first_check_that_failed_is_not_no_check(operator: Client) -> None:
    def ids() -> list[int]:
        raise RuntimeError("ids broke <b>")

    warm_many("x:{id}", ids=ids, name="x")(lambda ids: {})
    assert "not checked yet" in row(operator, "x")
    observe_all(seconds=10)
    assert "the check failed RuntimeError: ids broke &lt;b&gt;" in row(operator, "x")
    assert "never successfully" in operator.get(f"{JOBS}x/change/").content.decode()


@pytest.mark.usefixtures("impatient_cache")
@pytest.mark.parametrize("how", ["hung", "away"])
def test_state__is_unknown_while_the_cache_does_not_answer(
    operator: Client, redis_server: RedisServer, settings: Any, how: str
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    operator.force_login(CustomUser.objects.get(username="olga"))
    observation("posts", observed_at=timezone.now() - timedelta(minutes=3))
    assert state_of(operator, "posts") == "warm"
    if how == "hung":
        redis_server.pause()
    else:
        redis_server.stop()
    observe(jobs["posts"].spec)
    assert state_of(operator, "posts") == "unknown"
    assert listed(operator, state="unknown") >= {"posts"}
    assert listed(operator, state="warm") == set()
    # The last successful check is still shown, with its age.
    shown = row(operator, "posts")
    assert "100 % checked 3 min ago" in shown
    assert "does not answer" in shown


def test_cache__run_that_ended_after_the_check(operator: Client) -> None:
    seen = timezone.now()
    observation("posts", observed_at=seen, cached=0)
    run_of("posts", finished_at=seen - timedelta(seconds=1))
    assert "before run" not in row(operator, "posts")
    run = run_of("posts", finished_at=seen + timedelta(seconds=1))
    assert f"before run {run.pk} ended" in row(operator, "posts")


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (State.FAILED, "failed"),
        (State.LOST, "failed"),
        (State.EXPIRED, "failed"),
        (State.INCOMPLETE, "part"),
        (State.COMPLETE, "warm"),
        (State.CANCELLED, "warm"),
    ],
)
def test_state__is_that_of_the_last_run_then_of_the_cache(operator: Client, state: State, shown: str) -> None:
    observation("posts")
    run_of("posts", State.FAILED)
    run_of("posts", state)
    assert state_of(operator, "posts").startswith(shown)


def test_state__is_the_most_urgent_that_holds(operator: Client) -> None:
    queued = runs.open_run("posts", Trigger.COMMAND).run
    assert state_of(operator, "posts") == "queued"
    assert "queued for" not in row(operator, "posts")
    WarmingRun.objects.update(requested_at=timezone.now() - timedelta(minutes=5))
    assert "queued for 5 min" in row(operator, "posts")
    seen = observation("posts")
    assert state_of(operator, "posts") == "queued"
    JobObservation.objects.update(cached=0)
    assert state_of(operator, "posts") == "cold"
    act(operator, "pause posts")
    assert state_of(operator, "posts") == "paused"
    runs.fail(queued, "broken")
    assert state_of(operator, "posts") == "failed"
    assert "paused:" in row(operator, "posts")
    audit = wrong_audit("posts")
    assert state_of(operator, "posts") == "wrong"
    audit.delete()
    seen.delete()
    assert state_of(operator, "posts") == "failed"


def wrong_audit(job: str, **fields: Any) -> CacheAudit:
    now = timezone.now()
    return CacheAudit.objects.create(
        job=job, trigger="schedule", started_at=now, **{"sampled": 5, "right": 4, "wrong": 1} | fields
    )


def test_state__wrong_is_until_the_keys_are_corrected(operator: Client) -> None:
    observation("posts")

    def state(correct: Callable[[], Any], **fields: Any) -> str:
        WarmingRun.objects.all().delete()
        wrong_audit("posts", **fields)
        assert state_of(operator, "posts") == "wrong"
        correct()
        return state_of(operator, "posts")

    assert state(lambda: run_of("posts", started_at=timezone.now())) == "warm"
    assert state(lambda: run_of("posts", started_at=timezone.now()), undeclared=3) == "wrong"
    assert state(lambda: run_of("posts", started_at=timezone.now() - timedelta(minutes=1))) == "wrong"
    for partly in ({"only_missing": True}, {"skipped": 1}, {"state": State.INCOMPLETE}):
        assert state(lambda partly=partly: run_of("posts", started_at=timezone.now(), **partly)) == "wrong"
    assert state(lambda: wrong_audit("posts", repaired=1)) == "warm"
    assert state(lambda: wrong_audit("posts", wrong=0)) == "warm"
    assert state(lambda: act(operator, "invalidate posts", confirmed="yes")) == "unknown"


@pytest.mark.parametrize(
    ("keys", "cached", "state"),
    [(28, 26, "warm"), (28, 25, "partial"), (1_000, 990, "warm"), (1_000, 989, "partial"), (1, 0, "cold")],
)
def test_state__is_warm_though_few_keys_were_just_invalidated(
    operator: Client, keys: int, cached: int, state: str
) -> None:
    observation("posts", sampled=keys, cached=cached)
    assert state_of(operator, "posts") == state


def test_table__begins_with_what_needs_attention(operator: Client) -> None:
    names = ["popular_posts", "posts", "user_profiles"]
    for name in names:
        observation(name)
    for urgent in names:
        audit = wrong_audit(urgent)
        page = operator.get(OVERVIEW).content.decode()
        assert re.findall('data-warmer-job="([^"]*)"', page)[0] == urgent
        audit.delete()


def test_state__running_has_its_progress(operator: Client) -> None:
    run = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert run is not None
    runs.expect(run, batches=4, report=report(batches=0))
    runs.record_batches(run, {1: report(written=3)})
    assert state_of(operator, "posts") == "running"
    assert "1 of 4 batches" in row(operator, "posts")


def test_duration__mean_is_of_complete_runs_and_all_are_drawn(operator: Client) -> None:
    for seconds in (1, 3):
        run_of("posts", seconds=seconds)
    run_of("posts", State.FAILED, seconds=90)
    assert "2.00 s" in row(operator, "posts")
    page = operator.get(OVERVIEW).content.decode()
    assert page.count('<rect class="warmer-bar-complete"') == 2
    assert page.count('<rect class="warmer-bar-failed"') == 1


def test_pending__counts_waiting_invalidations(operator: Client) -> None:
    assert "Pending invalidations none" in text_of(operator.get(OVERVIEW).content.decode())
    make_waiting("posts", [1])
    ChangeRecord.objects.create(source="myapp_post")  # on which two jobs depend
    ChangeRecord.objects.create(source="a_table_of_another_release")
    assert "2 pending" in row(operator, "posts")
    assert "1 pending" in row(operator, "popular_posts")
    assert "pending" not in row(operator, "user_profiles")
    assert "Pending invalidations 2 oldest" in text_of(operator.get(OVERVIEW).content.decode())


def test_triggers__missing_ones_are_named(operator: Client) -> None:
    assert "warm_triggers" not in operator.get(OVERVIEW).content.decode()
    with without_triggers():
        page = operator.get(OVERVIEW).content.decode()
        assert ("users_customuser" in page and "warm_triggers" in page) is captures_by_triggers()


def test_audit__last_one(operator: Client, make_post: Any) -> None:
    posts = [make_post() for _ in range(3)]
    auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
    assert "3 missing" in row(operator, "posts")
    jobs["posts"].warm()
    with uncaptured():
        Post.objects.filter(pk=posts[0].pk).update(title="Behind the back")
    auditing.perform(jobs["posts"].spec, Trigger.COMMAND)
    assert "2 of 3 right" in row(operator, "posts")
    page = operator.get(OVERVIEW).content.decode()
    url = f"{AUDITS}{CacheAudit.objects.latest('id').pk}/change/"
    assert f'<a href="{url}" class="warmer-warning">' in page


def test_search__by_name_or_key_and_state(operator: Client) -> None:
    run_of("posts", State.FAILED)
    assert listed(operator, q="POST") == {"popular_posts", "posts"}
    assert listed(operator, q="{id}:profile") == {"user_profiles"}
    assert listed(operator, state="failed") == {"posts"}
    assert listed(operator, p="x") == PROJECT
    assert "<script>alert" not in operator.get(OVERVIEW, {"q": "<script>alert(1)"}).content.decode()


@pytest.mark.parametrize("live", [{}, {"live": "1"}])
def test_markup__no_inline_script_or_style_and_breaking_names(operator: Client, live: dict[str, str]) -> None:
    run_of("posts")
    page = operator.get(OVERVIEW, live).content.decode()
    content = page[page.index('<div id="content-main"') :].partition("<!-- END Content -->")[0]
    assert "<script" not in content
    assert "<style" not in page
    assert not re.search(r'\s(style|on\w+)="', content)
    assert ">user_<wbr>profiles</a>" in content


def test_index__leads_here(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()
    for url in (OVERVIEW, JOBS, RUNS):
        assert f'"{url}"' in page
    assert operator.get(JOBS, {"q": "post"})["Location"] == f"{OVERVIEW}?q=post"


def test_live__is_the_same_without_the_frame_and_leaves_messages_to_the_page(operator: Client) -> None:
    run_of("posts", State.FAILED)
    act(operator, "warm")  # no job was selected, as the next page will say
    for query in ({}, {"q": "post"}, {"state": "failed"}, {"q": "none"}):
        alone = operator.get(OVERVIEW, query | {"live": "1"}).content.decode()
        assert "<html" not in alone
        assert "data-warmer-live=" in alone
        assert "No job was selected" not in alone
        assert "live=1" not in alone
        shown = set(re.findall('data-warmer-job="([^"]*)"', alone))
        page = operator.get(OVERVIEW, query).content.decode()
        assert shown == set(re.findall('data-warmer-job="([^"]*)"', page))
        assert ("No job was selected" in page) == (query == {})


def assert_index_serves(query: str) -> None:
    """Fail unless a query finds its runs by the index of their job, however many there are."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
            plan = "\n".join(row[3] for row in cursor.fetchall())
            assert not re.search(r"^SCAN (warmer_warmingrun|U0)", plan, flags=re.M), plan
        else:
            cursor.execute(f"EXPLAIN {query}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Seq Scan on warmer_warmingrun" not in plan, plan
    assert "warmer_run_job" in plan, plan


@pytest.fixture
def many_jobs(own_jobs: None) -> list[str]:
    names = [f"job{number:04}" for number in range(120)]
    for name in names:
        warm(f"key:{name}", name=name)(lambda: 1)
    return names


def create_runs(names: list[str]) -> None:
    """Create 25 runs of each job."""
    now = timezone.now()
    WarmingRun.objects.bulk_create(
        WarmingRun(job=name, trigger="schedule", state="complete", requested_at=now, expires_at=now)
        for name in names
        for _ in range(25)
    )


@pytest.fixture
def many_runs() -> None:
    """As many as make PostgreSQL look for a job's by an index, and what it knows of them."""
    is_postgresql = connection.vendor == "postgresql"
    create_runs([f"other{number:04}" for number in range(200 if is_postgresql else 5)])
    if is_postgresql:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE warmer_warmingrun")


def queries_of(client: Client, url: str, **query: str) -> int:
    client.get(url, query)  # what is looked up once a process
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url, query).status_code == 200
    return len(queries)


def test_cost__queries_grow_with_neither_runs_nor_jobs(operator: Client, many_jobs: list[str]) -> None:
    few = queries_of(operator, OVERVIEW, q="posts")
    create_runs(many_jobs[:30])
    JobObservation.objects.bulk_create(JobObservation(job=name) for name in many_jobs[:60])
    ChangeRecord.objects.bulk_create(ChangeRecord(key=f"key:{name}") for name in many_jobs[:90])
    assert few <= 16
    for query in ({}, {"q": "job"}, {"p": "2"}, {"state": "unknown"}, {"live": "1"}):
        assert queries_of(operator, OVERVIEW, **query) <= few + 1, query


def test_cost__page_holds_fifty_jobs(operator: Client, many_jobs: list[str]) -> None:
    page = operator.get(OVERVIEW).content.decode()
    assert page.count('name="job"') == 50
    assert "page 1 of 3, 123 jobs" in page
    last = operator.get(OVERVIEW, {"p": "3"}).content.decode()
    assert last.count('name="job"') == 23


def test_cost__newest_runs_of_a_job_are_found_by_index(many_runs: None) -> None:
    for number in range(3):
        run_of("posts", seconds=number + 1)
    with CaptureQueriesContext(connection) as queries:
        found = WarmingRun.objects.recent_per_job(["posts", "popular_posts", "user_profiles"], each=2)
    assert [len(found[name]) for name in ("posts", "popular_posts", "user_profiles")] == [2, 0, 0]
    assert found["posts"][0].pk > found["posts"][1].pk
    assert len(queries) == 1
    assert_index_serves(queries[0]["sql"])
    assert WarmingRun.objects.recent_per_job([], each=3) == {}


def test_cost__last_states_of_observed_jobs_are_found_by_index(many_runs: None) -> None:
    run_of("posts", State.FAILED)
    run_of("user_profiles")
    JobObservation.objects.bulk_create(JobObservation(job=name) for name in PROJECT)
    with CaptureQueriesContext(connection) as queries:
        states = JobObservation.objects.latest_run_states(PROJECT)
    assert states == {"posts": "failed", "user_profiles": "complete"}
    assert_index_serves(queries[0]["sql"])
