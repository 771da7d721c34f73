"""Wrong keys count as repaired once nothing is wrong any more, whoever repaired them and how."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.core.cache import cache
from django.utils import timezone

from embedded.redis_server import RedisServer
from tests.package.monitoring.audit.conftest import declare
from warmer import jobs, warm, warm_many
from warmer.invalidation import Backlog
from warmer.models import CacheAudit, JobObservation, State, Trigger, WarmingRun
from warmer.monitoring import audit
from warmer.monitoring.alerts import firing
from warmer.monitoring.snapshot import snapshot
from warmer.report import MAX_FAILURES
from warmer.tasks import upkeep
from warmer.tasks.upkeep import observe_jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def is_wrong(job: str = "things") -> bool:
    """Return whether a job is wrong after the next look of a worker; the alert and the state say the same."""
    observe_jobs()
    alerts = firing(snapshot(down=(), backlog=Backlog()))
    fires_for = next((names for alert, names in alerts.items() if alert.name == "WarmerKeysWrong"), [])
    assert (job in fires_for) == (job in CacheAudit.objects.jobs_with_wrong_keys(jobs))
    return job in fires_for


@pytest.fixture
def wrong(job: Any, source: Any) -> Any:
    """The job, of whose keys an audit found two wrong."""
    job.warm()
    for number in (2, 3):
        source[number] = "another"
    audit.perform(job.spec, Trigger.SCHEDULE)
    assert is_wrong()
    return job


@pytest.mark.parametrize(
    "repair",
    [
        lambda job: job.invalidate([2, 3]),
        lambda job: job.warm([2, 3]),
        lambda job: job.warm(),
        lambda job: cache.delete_many(["thing:2", "thing:3"]),
        lambda job: audit.perform(job.spec, Trigger.COMMAND, repair=True),
    ],
)
def test_repairs__of_any_kind_are_noticed(wrong: Any, repair: Callable[[Any], object]) -> None:
    repair(wrong)
    assert not is_wrong()
    assert CacheAudit.objects.filter(wrong=2).latest("pk").repaired == 2


def test_repairs__by_invalidating_the_whole_job(wrong: Any) -> None:
    wrong.invalidate()
    # Another cache cannot find the keys of a job, so they stay.
    assert is_wrong() != wrong.spec.store.lists_keys


def test_repairs__of_a_single_job(source: Any) -> None:
    answer = warm("answer", name="things")(lambda: 42)
    cache.set("answer", 41)
    audit.perform(answer.spec, Trigger.SCHEDULE)
    assert is_wrong()
    answer.invalidate()
    assert not is_wrong()


@pytest.mark.parametrize("is_loaded_again", [False, True])
def test_repairs__of_a_key_that_only_readers_had_cached(source: Any, is_loaded_again: bool) -> None:
    job = declare(source, ids=lambda: [1])
    job.warm([1, 2])
    source[2] = "another"
    found = audit.perform(job.spec, Trigger.SCHEDULE)
    assert (found.wrong, found.undeclared) == (1, 1)
    assert is_wrong()
    job.invalidate([2])
    assert not is_loaded_again or job.get(2) == "another"
    assert not is_wrong()


def test_repairs__are_found_without_reading_every_id(source: Any) -> None:
    read = []

    def ids() -> Iterator[int]:
        for number in source:
            read.append(number)
            yield number

    job = declare(source, ids=ids)
    job.warm()
    source[9] = "another"
    audit.perform(job.spec, Trigger.SCHEDULE)
    job.warm([9])
    read.clear()
    audit.note_repairs(seconds=10)
    assert not CacheAudit.objects.jobs_with_wrong_keys(jobs)
    assert read == [0]


def test_repairs__are_noted_in_the_time_left_by_the_observations(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        job = warm(name, name=name)(lambda: 42)
        cache.set(name, 41)
        audit.perform(job.spec, Trigger.SCHEDULE)
        job.invalidate()
    monkeypatch.setattr(upkeep, "OBSERVING_SECONDS", 0)
    for left in (1, 0):  # each job gets its turn, even so
        observe_jobs()
        assert len(CacheAudit.objects.jobs_with_wrong_keys(jobs)) == left
    assert not JobObservation.objects.exists()


def test_repairs__end_with_the_time_limit_of_the_task(source: Any) -> None:
    def answer() -> int:
        if source:
            raise SoftTimeLimitExceeded
        return 42

    source.clear()
    job = warm("answer", name="answer")(answer)
    cache.set("answer", 41)
    audit.perform(job.spec, Trigger.SCHEDULE)
    source[1] = "slow"
    with pytest.raises(SoftTimeLimitExceeded):
        observe_jobs()
    assert JobObservation.objects.filter(job="answer", cached=1).exists()


def complete_run(job: Any) -> None:
    now = timezone.now()
    WarmingRun.objects.create(job=job.name, trigger="schedule", state=State.COMPLETE, started_at=now, expires_at=now)


@pytest.mark.parametrize("repair", [complete_run, lambda job: job.invalidate()])
def test_repairs__of_more_keys_than_an_audit_names_are_those_of_every_key(source: Any, repair: Any) -> None:
    source |= dict.fromkeys(range(MAX_FAILURES + 1), "one")
    job = declare(source)
    job.warm()
    source |= dict.fromkeys(range(MAX_FAILURES + 1), "another")
    found = audit.perform(job.spec, Trigger.SCHEDULE)
    job.invalidate([int(each["key"].removeprefix("thing:")) for each in found.wrong_keys])
    assert is_wrong(), "one is still wrong, and nobody knows which"
    repair(job)
    assert not is_wrong()


def test_repairs__are_noticed_though_the_ids_of_another_job_fail(wrong: Any, source: Any) -> None:
    other = warm_many("other:{id}", name="a_broken_one", ids=lambda: 1 / 0)(lambda ids: {})
    cache.set("other:1", "old")
    CacheAudit.objects.create(
        job="a_broken_one",
        trigger="schedule",
        started_at=timezone.now(),
        wrong=1,
        wrong_keys=[{"key": "other:1", "fields": []}],
    )
    assert is_wrong(other.spec.name)
    wrong.invalidate([2])
    assert is_wrong(), "one is left"
    wrong.invalidate([3])
    assert not is_wrong()
    assert is_wrong("a_broken_one")


@pytest.mark.parametrize("any_cache", ["redis"], indirect=True)
def test_repairs__while_the_cache_is_away_nothing_is_known(wrong: Any, redis_server: RedisServer) -> None:
    redis_server.stop()
    assert is_wrong()
