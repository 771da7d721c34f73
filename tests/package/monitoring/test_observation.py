"""Observations: what a look at a job finds, what it costs, and what is kept of it."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from tests.package.monitoring.things import LOCMEM, declare
from warmer import warm
from warmer.models import JobObservation, State, Trigger, WarmingRun
from warmer.monitoring import observation
from warmer.monitoring.observation import observe, observe_all
from warmer.runs import open_run
from warmer.runs.execution import execute
from warmer.tasks import observe_jobs, request_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def last(job: Any) -> JobObservation:
    return JobObservation.objects.get(job=job.name)


@pytest.mark.parametrize(("warmed", "state"), [(0, "cold"), (4, "partial"), (8, "partial"), (9, "warm")])
def test_coverage__is_the_share_that_is_cached(warmed: int, state: str) -> None:
    job = declare(ids=[*range(10), "what cannot be a key"])
    job.warm(range(warmed))
    observe(job.spec)
    with CaptureQueriesContext(connection) as queries:
        observe(job.spec)
    assert len(queries) <= 4  # its row twice, the last full run, its hour
    assert (last(job).sampled, last(job).cached, last(job).coverage) == (10, warmed, warmed / 10)
    assert last(job).state == state


def test_coverage__of_a_large_job_is_a_sample(redis_client: Redis) -> None:
    job = declare(ids=range(3_000), batch_size=1_000)
    job.warm(range(1_500))
    before = redis_client.info("stats")["total_commands_processed"]
    found = observe(job.spec)
    assert redis_client.info("stats")["total_commands_processed"] - before < observation.SAMPLE + 50
    assert found.declared == 3_000
    assert observation.SAMPLE / 2 < found.sampled <= observation.SAMPLE
    # Six times the standard deviation of a sample of 1,000.
    assert found.coverage == pytest.approx(0.5, abs=0.095)


def test_coverage__reads_no_more_ids_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "IDS_READ", 25)
    read = 0

    def endless() -> Any:
        nonlocal read
        while True:
            read += 1
            yield read

    job = declare()
    job.spec.__dict__["ids"] = endless
    assert observe(job.spec).declared == 25
    assert read == 25
    job.spec.__dict__["ids"] = lambda: 1 / 0
    assert "ZeroDivisionError" in observe(job.spec).error


def test_coverage__ids_without_a_value_are_not_cold() -> None:
    job = declare(ids=[1, 2, 3, -4])
    execute(job.spec, open_run(job.name, Trigger.COMMAND).run)
    found = observe(job.spec)
    assert (found.sampled, found.cached, found.no_value, found.coverage) == (4, 3, 1, 1.0)
    cache.delete("things:1")
    assert observe(job.spec).coverage == 2 / 3


def test_coverage__without_ids_is_not_known() -> None:
    job = declare(ids=[])
    found = observe(job.spec)
    assert (found.coverage, found.state, found.oldest_seconds) == (None, None, None)
    assert found.observed_at is not None


def test_oldest__is_the_age_of_the_oldest_key_if_the_cache_tells(redis_client: Redis, settings: Any) -> None:
    job = declare(timeout=timedelta(hours=1))
    job.warm()
    redis_client.pexpire(cache.make_key("things:3"), 3_000_000)
    redis_client.pexpire(cache.make_key("things:4"), 3_300_000)
    oldest = observe(job.spec).oldest_seconds
    assert oldest is not None
    assert 600 <= oldest < 660
    assert last(job).oldest_seconds == oldest
    settings.CACHES = LOCMEM
    job.warm([1, 2])
    found = observe(job.spec)
    assert (found.coverage, found.oldest_seconds) == (0.2, None)
    cache.clear()


def test_look__with_the_cache_down_keeps_what_was_known(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    job = warm("only", name="only")(lambda: 1)
    redis_server.stop()
    assert (observe(job.spec).observed_at, last(job).coverage) == (None, None)
    redis_server.start()
    assert observe(job.spec).state == "cold"
    job.warm()
    seen = observe(job.spec)
    assert seen.state == "warm"
    caplog.clear()
    redis_server.stop()
    failed = observe(job.spec)
    assert "does not answer" in failed.error
    assert (failed.coverage, failed.observed_at) == (1.0, seen.observed_at)
    assert last(job) == failed
    warned = [record.name for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["warmer.stores.breaker"]  # not once for each job in each minute
    redis_server.start()
    again = observe(job.spec)
    assert (again.error, again.coverage) == ("", 0.0)


def test_task__observes_every_job() -> None:
    job = declare()
    job.warm()
    # Not `get()`, which Celery refuses for good once tasks of two threads were executed in place at once.
    observed = observe_jobs.delay().result
    assert observed == JobObservation.objects.count() > 1
    assert last(job).state == "warm"


def test_task__out_of_time_goes_on_with_those_that_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        warm(f"single:{number}", name=f"single{number}")(lambda: 1)
    times = iter([0.0, 0.0, 0.0, 99.0, *[0.0] * 99])
    monkeypatch.setattr(observation, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert observe_all(seconds=45) == 2
    first = set(JobObservation.objects.values_list("job", flat=True))
    observe_all(seconds=45)
    by_age = JobObservation.objects.order_by("attempted_at").values_list("job", flat=True)
    assert set(by_age[len(by_age) - 2 :]) == first


def test_task__ends_at_its_time_limit_and_goes_on_with_the_others() -> None:
    def slow() -> Any:
        raise SoftTimeLimitExceeded

    job = declare(ids=[1])
    observe_jobs()
    JobObservation.objects.filter(job=job.name).update(attempted_at=timezone.now() - timedelta(minutes=1))
    job.spec.__dict__["ids"] = slow
    for _ in range(2):
        with pytest.raises(SoftTimeLimitExceeded):
            observe_jobs()
        assert "SoftTimeLimitExceeded" in last(job).error
    by_age = JobObservation.objects.order_by("attempted_at").values_list("job", flat=True)
    assert by_age.last() == job.name


def test_task__forgets_jobs_that_are_long_gone() -> None:
    job = declare()
    observe(job.spec)
    gone = JobObservation.objects.create(job="gone")
    observe_all(seconds=45)
    assert JobObservation.objects.filter(pk=gone.pk).exists()
    expired = gone.attempted_at - 2 * observation.ROLL_OUT
    JobObservation.objects.filter(pk=gone.pk).update(attempted_at=expired)
    observe_all(seconds=45)
    assert not JobObservation.objects.filter(pk=gone.pk).exists()
    assert JobObservation.objects.filter(job=job.name).exists()


@pytest.mark.parametrize("away", [False, True])
def test_run__is_observed_once_at_its_end(monkeypatch: pytest.MonkeyPatch, away: bool) -> None:
    job = declare(batch_size=2)
    looks: list[int] = []
    real = observation.cover

    def cover(spec: Any) -> Any:
        looks.append(WarmingRun.objects.get().batches_done)
        if away:
            raise OperationalError("away")
        return real(spec)

    monkeypatch.setattr(observation, "cover", cover)
    run = request_run(job.name, Trigger.COMMAND).run
    assert (run.state, looks) == (State.COMPLETE, [5])
    assert last(job).state == (None if away else "warm")


def test_run__that_cannot_be_observed_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobObservation.objects, "get_or_create", Mock(side_effect=InterfaceError("away")))
    assert request_run(declare().name, Trigger.COMMAND).run.state == State.COMPLETE
