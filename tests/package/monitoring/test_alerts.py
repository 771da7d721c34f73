"""The alerts as the overview evaluates them: each condition, on both sides of its threshold."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from warmer import warm
from warmer.invalidation import Backlog
from warmer.models import CacheAudit, JobObservation, RunTotal, State, Trigger, WarmingRun
from warmer.monitoring.alerts import firing
from warmer.monitoring.snapshot import snapshot
from warmer.runs import open_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _job(empty_registry: Any) -> None:
    """A job that is well: alone, warm and just observed."""
    warm("x", name="x", every=timedelta(minutes=10))(lambda: 1)
    total(State.COMPLETE)
    observe()


def total(state: State, **ago: float) -> None:
    RunTotal.objects.create(job="x", trigger=Trigger.SCHEDULE, state=state, last_at=timezone.now() - timedelta(**ago))


def observe(**fields: Any) -> None:
    known = {"attempted_at": timezone.now(), "sampled": 10, "cached": 10}
    JobObservation.objects.update_or_create(job="x", defaults=known | fields)


def audit(wrong: int) -> None:
    CacheAudit.objects.create(job="x", trigger="admin", started_at=timezone.now(), sampled=wrong, wrong=wrong)


def queue(seconds: float) -> None:
    run = open_run("x", Trigger.SCHEDULE).run
    WarmingRun.objects.filter(pk=run.pk).update(requested_at=timezone.now() - timedelta(seconds=seconds))


def run_with(superseded: int, **ago: float) -> None:
    now = timezone.now() - timedelta(**ago)
    fields = {"job": "x", "trigger": "schedule", "state": "complete", "requested_at": now, "expires_at": now}
    WarmingRun.objects.create(**fields, written=100, superseded=superseded)


def last_complete(**ago: float) -> None:
    RunTotal.objects.filter(state=State.COMPLETE).update(last_at=timezone.now() - timedelta(**ago))


def found(*, down: tuple[str, ...] = (), age: float = 0) -> dict[str, list[str]]:
    backlog = Backlog(count=int(age > 0), age=timedelta(seconds=age))
    return {each.name: names for each, names in firing(snapshot(down=down, backlog=backlog)).items()}


def test_well__nothing_fires() -> None:
    observe(attempted_at=timezone.now() - timedelta(seconds=290), cached=9, hits_hour=80, misses_hour=20)
    audit(wrong=0)
    queue(seconds=110)
    run_with(superseded=40)
    run_with(superseded=0)  # of all writes of the hour, 17 % were overtaken
    run_with(superseded=900, hours=2)
    last_complete(minutes=29)
    assert found(age=110) == {}


@pytest.mark.parametrize(
    ("alert", "happens"),
    [
        ("WarmerKeysWrong", lambda: audit(wrong=1)),
        ("WarmerRequiredJobFailed", lambda: total(State.LOST)),
        ("WarmerRequiredJobStale", lambda: last_complete(minutes=31)),
        ("WarmerRequiredJobStale", RunTotal.objects.all().delete),
        ("WarmerRunsWait", lambda: queue(seconds=130)),
        ("WarmerCoverageLow", lambda: observe(cached=8)),
        ("WarmerObservationFailing", lambda: observe(error="StoreUnavailable: away")),
        ("WarmerHitRateLow", lambda: observe(hits_hour=4_000, misses_hour=4_000)),
        ("WarmerWritesFenced", lambda: run_with(superseded=30)),
    ],
)
def test_alert__names_its_job(alert: str, happens: Callable[[], object]) -> None:
    happens()
    assert found() == {alert: ["x"]}


def test_alert__of_the_whole_site() -> None:
    assert found(age=130) == {"WarmerInvalidationsWait": []}
    assert found(down=("default",)) == {"WarmerCacheDown": ["x"]}
    observe(attempted_at=timezone.now() - timedelta(seconds=310))
    assert found() == {"WarmerScheduleSilent": []}
    JobObservation.objects.all().delete()
    assert found() == {"WarmerScheduleSilent": []}


def test_alert__leaves_jobs_alone_that_are_not_required(empty_registry: Any) -> None:
    empty_registry.unregister("x")
    warm("x", name="x", every=timedelta(minutes=10), required=False)(lambda: 1)
    total(State.FAILED)
    last_complete(hours=1)
    assert found() == {}
