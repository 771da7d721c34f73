"""The states of jobs on the overview, of which the most urgent is shown; and what the overview costs."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from embedded.redis_server import RedisServer
from tests.package.admin.pages import (
    OVERVIEW,
    POSTS,
    act,
    listed,
    observation,
    queries_of,
    row,
    run_of,
    state_of,
    wrong_audit,
)
from warmer import jobs, runs, warm
from warmer.admin import health, questions
from warmer.invalidation import receivers
from warmer.models import CacheAudit, ChangeRecord, JobObservation, State, Trigger, WarmingRun
from warmer.monitoring.observation import observe
from warmer.runs import open_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize(
    ("last_run", "keys", "cached", "state"),
    [
        *[(last_run, 4, 4, "failed") for last_run in (State.FAILED, State.LOST, State.EXPIRED)],
        (State.INCOMPLETE, 4, 4, "partial"),
        *[(last_run, 4, 4, "warm") for last_run in (State.COMPLETE, State.CANCELLED)],
        # Few keys were just invalidated.
        *[(State.COMPLETE, 28, 26, "warm"), (State.COMPLETE, 28, 25, "partial"), (State.COMPLETE, 1, 0, "cold")],
        *[(State.COMPLETE, 1_000, 990, "warm"), (State.COMPLETE, 1_000, 989, "partial")],
    ],
)
def test_state__is_that_of_the_last_run_then_of_the_cache(
    operator: Client, last_run: State, keys: int, cached: int, state: str
) -> None:
    observation("posts", sampled=keys, cached=cached)
    run_of("posts", State.FAILED)
    run_of("posts", last_run)
    assert state_of(operator, "posts") == state


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


def test_state__wrong_is_until_the_keys_are_corrected(operator: Client) -> None:
    observation("posts")

    def state(correct: Callable[[], Any], **fields: Any) -> str:
        WarmingRun.objects.all().delete()
        wrong_audit("posts", **fields)
        assert state_of(operator, "posts") == "wrong"
        correct()
        CacheAudit.objects.note_repairs(jobs)  # as a worker does each minute
        return state_of(operator, "posts")

    assert state(lambda: run_of("posts", started_at=timezone.now())) == "warm"
    assert state(lambda: run_of("posts", started_at=timezone.now()), undeclared=3) == "wrong"
    assert state(lambda: run_of("posts", started_at=timezone.now() - timedelta(minutes=1))) == "wrong"
    for partly in ({"only_missing": True}, {"skipped": 1}, {"state": State.INCOMPLETE}):
        assert state(lambda partly=partly: run_of("posts", started_at=timezone.now(), **partly)) == "wrong"
    assert state(lambda: wrong_audit("posts", repaired=1)) == "warm"
    assert state(lambda: wrong_audit("posts", wrong=0)) == "warm"
    assert state(lambda: act(operator, "invalidate posts", confirmed="yes")) == "unknown"


def test_state__is_unknown_once_no_job_is_checked_any_more(operator: Client) -> None:
    long_ago, recently = (timezone.now() - timedelta(minutes=minutes) for minutes in (6, 4))
    observation("posts", observed_at=long_ago, attempted_at=long_ago)
    # A round of slow jobs takes long.
    other = observation("popular_posts", attempted_at=recently, error="StoreUnavailable: away")
    assert state_of(operator, "posts") == "warm"
    assert 'warmer-warning warmer-small">checked ' in operator.get(OVERVIEW).content.decode()
    assert "checked 6 min ago" in row(operator, "posts")
    assert "warmer-state-warm" in operator.get(POSTS).content.decode()
    assert state_of(operator, "popular_posts") == "unknown"
    JobObservation.objects.filter(pk=other.pk).update(attempted_at=long_ago, error="")
    assert [state_of(operator, name) for name in ("posts", "popular_posts")] == ["unknown", "unknown"]
    assert "warmer-state-warm" not in operator.get(POSTS).content.decode()
    runs.open_run("posts", Trigger.COMMAND)
    assert state_of(operator, "posts") == "queued"


def test_table__begins_with_what_needs_attention(operator: Client) -> None:
    names = ["popular_posts", "posts", "user_profiles"]
    for name in names:
        observation(name)
    for urgent in names:
        audit = wrong_audit(urgent)
        page = operator.get(OVERVIEW).content.decode()
        assert re.findall('data-warmer-job="([^"]*)"', page)[0] == urgent
        audit.delete()


def test_state__running_has_its_progress(operator: Client, run: WarmingRun) -> None:
    assert state_of(operator, "posts") == "running"
    assert "1 of 4 batches" in row(operator, "posts")


@pytest.mark.usefixtures("impatient_cache")
@pytest.mark.parametrize("how", ["pause", "stop"])
def test_state__is_unknown_while_the_cache_does_not_answer(
    olga: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """At once where the page itself finds out, and later where a worker did."""
    observation("posts", observed_at=timezone.now() - timedelta(minutes=3))
    observation("popular_posts", cached=0)
    assert [state_of(olga, name) for name in ("posts", "popular_posts")] == ["warm", "cold"]
    questions.asked.clear()
    getattr(redis_server, how)()
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 0.01 if how == "pause" else 20.0)
    assert [state_of(olga, name) for name in ("posts", "popular_posts")] == ["unknown", "unknown"]
    assert "warmer-state-unknown" in olga.get(POSTS).content.decode()
    runs.open_run("popular_posts", Trigger.COMMAND)
    assert state_of(olga, "popular_posts") == "queued"
    observe(jobs["posts"].spec)
    monkeypatch.setattr(health, "unanswered", lambda caches: frozenset())
    assert state_of(olga, "posts") == "unknown"
    assert listed(olga, state="unknown") >= {"posts"}
    assert listed(olga, state="warm") == set()
    # The last successful check is still shown, with its age.
    shown = row(olga, "posts")
    assert "100 % checked 3 min ago" in shown
    assert "does not answer" in shown


# -- what it costs ------------------------------------------------------------------------------------
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
def many_jobs(own_jobs: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names = [f"job{number:04}" for number in range(120)]
    with monkeypatch.context() as quick:
        quick.setattr(receivers, "listen", lambda: None)  # they depend on nothing
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


@pytest.mark.usefixtures("with_broker")
def test_cost__queries_grow_with_neither_runs_nor_jobs(operator: Client, many_jobs: list[str]) -> None:
    limit = 19
    operator.get(OVERVIEW)  # what is looked up once a process
    assert queries_of(operator, OVERVIEW, q="posts") <= limit
    create_runs(many_jobs[:30])
    for name in many_jobs[30:60]:
        open_run(name, Trigger.SCHEDULE)
    JobObservation.objects.bulk_create(JobObservation(job=name) for name in many_jobs[:60])
    ChangeRecord.objects.bulk_create(ChangeRecord(key=f"key:{name}") for name in many_jobs[:90])
    for query in ({}, {"q": "job"}, {"p": "2"}, {"state": "unknown"}, {"live": "1"}):
        assert queries_of(operator, OVERVIEW, **query) <= limit, query


def test_cost__observations_are_read_twice(operator: Client) -> None:
    """For the table, and for the alerts."""
    with CaptureQueriesContext(connection) as queries:
        operator.get(OVERVIEW)
    assert sum('FROM "warmer_jobobservation"' in each["sql"] for each in queries) == 2


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
