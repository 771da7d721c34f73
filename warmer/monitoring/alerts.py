"""The alerts for Prometheus, as conditions on a snapshot: the overview shows which of them would fire.

A condition is that of the rule at this moment, without its `for`; rates are over the last hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Sum

from warmer.declarations.spec import JobSpec
from warmer.models import JobObservation, State, WarmingRun
from warmer.monitoring.snapshot import Snapshot

HOUR = timedelta(hours=1)
NOT_COMPLETE = (State.FAILED, State.INCOMPLETE, State.LOST, State.EXPIRED)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A Prometheus alert rule.

    Attributes:
        summary: the problem, in a sentence.
        section: the section of the runbook to start at.
        threshold: the threshold in its expression.
        fires: evaluates the condition from a snapshot and the threshold; returns the affected jobs if it is
            about jobs. None: only Prometheus can evaluate it.
    """

    name: str
    severity: str
    summary: str
    section: str
    threshold: float | None = None
    fires: Callable[[Snapshot, float], bool | Iterable[str]] | None = None


def firing(now: Snapshot) -> dict[Alert, list[str]]:
    """Return the alerts that would fire, each with the affected jobs; no jobs if it affects all."""
    found = {}
    for alert in ALERTS:
        result = alert.fires(now, alert.threshold or 0.0) if alert.fires else False
        names = [] if isinstance(result, bool) else list(result)
        if names or result is True:
            found[alert] = names
    return found


def _jobs(judge: Callable[[Snapshot, JobSpec, float], bool]) -> Callable[[Snapshot, float], Iterable[str]]:
    """Return a condition of each declared job."""
    return lambda now, threshold: (spec.name for spec in now.specs if judge(now, spec, threshold))


def _observed(look: Callable[[JobObservation, float], bool]) -> Callable[[Snapshot, float], Iterable[str]]:
    """Return a condition of each job that was observed."""
    return lambda now, threshold: (name for name, row in now.observations.items() if look(row, threshold))


def _is_silent(now: Snapshot, seconds: float) -> bool:
    last = now.last_attempt
    return last is None or (now.taken_at - last).total_seconds() > seconds


def _has_failed(now: Snapshot, spec: JobSpec, _threshold: float) -> bool:
    return spec.required and spec.name in now.totals and now.last_run(spec.name).state in NOT_COMPLETE


def _is_stale(now: Snapshot, spec: JobSpec, refreshes: float) -> bool:
    if not spec.required or spec.every is None:
        return False
    last = now.last_success(spec.name)
    return last is None or now.taken_at - last > refreshes * spec.every


def _misses_much(row: JobObservation, share: float) -> bool:
    rate, misses = row.hit_rate_hour, row.misses_hour or 0
    return rate is not None and rate < share and misses > HOUR.total_seconds()  # more than one a second


def _overtaken(now: Snapshot, share: float) -> Iterable[str]:
    runs = WarmingRun.objects.filter(requested_at__gt=now.taken_at - HOUR, superseded__gt=0)
    counted = runs.order_by().values_list("job").annotate(Sum("superseded"), Sum("written"))
    declared = {spec.name for spec in now.specs}
    return (job for job, lost, kept in counted if job in declared and lost / (lost + kept) > share)


ALERTS = (
    Alert(
        name="WarmerMetricsMissing",
        severity="critical",
        summary="No metrics are being scraped.",
        section="metrics-are-missing",
    ),
    Alert(
        name="WarmerScheduleSilent",
        severity="critical",
        summary="No job was observed for 5 minutes: beat or the workers have stopped.",
        section="runs-are-stuck-expired-or-lost",
        threshold=300,
        fires=_is_silent,
    ),
    Alert(
        name="WarmerCacheDown",
        severity="critical",
        summary="The cache is unreachable.",
        section="cache-down-connection-refused",
        threshold=0,
        fires=_jobs(lambda now, spec, _: spec.cache in now.down),
    ),
    Alert(
        name="WarmerInvalidationsWait",
        severity="critical",
        summary="Invalidations have been pending for more than 2 minutes.",
        section="invalidations-are-pending",
        threshold=120,
        fires=lambda now, seconds: now.backlog.age.total_seconds() > seconds,
    ),
    Alert(
        name="WarmerKeysWrong",
        severity="critical",
        summary="The last audit found wrong keys.",
        section="pages-show-old-data",
        threshold=0,
        fires=lambda now, keys: (job for job, audit in now.audits.items() if audit.unrepaired > keys),
    ),
    Alert(
        name="WarmerRequiredJobFailed",
        severity="critical",
        summary="The last run did not complete.",
        section="runs-are-stuck-expired-or-lost",
        threshold=1,
        fires=_jobs(_has_failed),
    ),
    Alert(
        name="WarmerRequiredJobStale",
        severity="critical",
        summary="Three refreshes were missed.",
        section="runs-are-stuck-expired-or-lost",
        threshold=3,
        fires=_jobs(_is_stale),
    ),
    Alert(
        name="WarmerRunsWait",
        severity="warning",
        summary="A run has been waiting for a worker for more than 2 minutes.",
        section="runs-are-stuck-expired-or-lost",
        threshold=120,
        fires=_jobs(lambda now, spec, seconds: now.queue_wait(spec.name) > seconds),
    ),
    Alert(
        name="WarmerCoverageLow",
        severity="warning",
        summary="Less than 90 % of the keys are cached.",
        section="cache-cold-after-a-deploy",
        threshold=0.9,
        fires=_observed(lambda row, share: row.coverage is not None and row.coverage < share),
    ),
    Alert(
        name="WarmerObservationFailing",
        severity="warning",
        summary="The keys cannot be observed.",
        section="cache-down-connection-refused",
        threshold=1,
        fires=_observed(lambda row, _: bool(row.error)),
    ),
    Alert(
        name="WarmerHitRateLow",
        severity="warning",
        summary="Less than 80 % of the reads are hits.",
        section="keys-are-evicted",
        threshold=0.8,
        fires=_observed(_misses_much),
    ),
    Alert(
        name="WarmerWritesFenced",
        severity="warning",
        summary="Invalidations overtake more than 20 % of the writes.",
        section="keys-are-evicted",
        threshold=0.2,
        fires=_overtaken,
    ),
)
