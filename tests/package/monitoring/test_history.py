"""The history: an hour of a job adds up what was observed and the runs that ended, each once."""

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from tests.package.monitoring.things import declare
from warmer import invalidation, runs
from warmer.models import JobHour, State, Trigger, WarmingRun, start_of_hour
from warmer.monitoring import observation
from warmer.monitoring.observation import observe, observe_all
from warmer.runs.execution import execute
from warmer.stores import Counted
from warmer.tasks import forget_runs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
# The reads of an hour are counted in the cache for a day.
NOON = start_of_hour(timezone.now()) - timedelta(hours=3)


@pytest.fixture
def job() -> Any:
    return declare(timeout=timedelta(hours=1))


@pytest.fixture
def observe_at(job: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that observes the job some minutes after noon."""

    def observe_at(minutes: float) -> None:
        now = NOON + timedelta(minutes=minutes)
        monkeypatch.setattr(observation, "timezone", SimpleNamespace(now=lambda: now))
        observe(job.spec)

    return observe_at


def read(job: Any, minutes: float, **counts: int) -> None:
    """Count some reads some minutes after noon, as a process does when it flushes."""
    at = NOON + timedelta(minutes=minutes)
    job.spec.store.counters.add(Counted(counts=Counter(counts)), now=at.timestamp())


def hour(job: Any, number: int = 0) -> JobHour:
    return JobHour.objects.get(job=job.name, hour=NOON + timedelta(hours=number))


def test_reads__of_an_hour_count_once_however_often_observed(job: Any, observe_at: Any, redis_client: Redis) -> None:
    read(job, -1, hits=100)
    for minutes in (0, 4, 29):
        read(job, minutes, hits=2, misses=1)
        observe_at(minutes)
    observe_at(30)
    assert (hour(job).hits, hour(job).misses, hour(job).observed) == (6, 3, 4)
    assert hour(job).hit_rate == 6 / 9
    redis_client.flushdb()  # what the cache forgot stays counted
    read(job, 31, hits=1, misses=2)
    observe_at(32)
    assert (hour(job).hits, hour(job).misses) == (6, 3)


def test_coverage__is_the_mean_of_the_hour_and_its_lowest(job: Any, observe_at: Any) -> None:
    job.warm()
    observe_at(1)
    cache.delete_many(f"things:{id}" for id in range(8))
    observe_at(2)
    assert (hour(job).coverage, hour(job).coverage_min) == (pytest.approx(0.6), pytest.approx(0.2))


def test_hour__in_which_the_cache_was_away_has_what_waited_for_it(job: Any, redis_server: RedisServer) -> None:
    redis_server.stop()
    invalidation.request(job.spec, using="default")
    observe_all(seconds=45)
    kept = JobHour.objects.get(job=job.name)
    assert (kept.coverage, kept.hit_rate, kept.pending_max) == (None, None, 1)


def test_runs__that_ended_are_added_and_stay_when_they_are_deleted(job: Any) -> None:
    execute(job.spec, runs.open_run(job.name, Trigger.COMMAND).run)
    runs.fail(runs.open_run(job.name, Trigger.COMMAND).run, "broken")
    runs.cancel(runs.open_run(job.name, Trigger.COMMAND).run, "olga", "")
    took = WarmingRun.objects.get(state=State.COMPLETE).took
    WarmingRun.objects.all().delete()
    (kept,) = JobHour.objects.all()
    # Of the three runs one was started; one failed, and one was cancelled.
    assert (kept.runs, kept.failed_runs, kept.mean_seconds) == (1, 1, pytest.approx(took))


def test_upkeep__deletes_hours_after_eight_days(job: Any) -> None:
    now = timezone.now()
    for days in (7, 9):
        JobHour.objects.put(job.name, now - timedelta(days=days), hits=1)
    forget_runs()
    assert JobHour.objects.get().hour == start_of_hour(now - timedelta(days=7))


def test_put__costs_one_query_in_an_hour_that_has_begun(job: Any) -> None:
    JobHour.objects.put(job.name, NOON, hits=1)
    with CaptureQueriesContext(connection) as queries:
        JobHour.objects.put(job.name, NOON + timedelta(minutes=59), hits=2)
    assert (len(queries), hour(job).hits) == (1, 2)
