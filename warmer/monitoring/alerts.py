"""The alerts for Prometheus, as conditions on a snapshot: the overview shows which of them would fire.

A condition is that of the rule at this moment, without its `for`; rates are over the last hour.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db.models import Sum

from warmer.models import State, WarmingRun
from warmer.monitoring.snapshot import Snapshot

HOUR = timedelta(hours=1)
NOT_COMPLETE = (State.FAILED, State.INCOMPLETE, State.LOST, State.EXPIRED)


@dataclass(frozen=True)
class Alert:
    """A Prometheus alert rule.

    Attributes:
        summary: the problem, in a sentence.
        section: the section of the runbook to start at.
        threshold: the threshold in its expression.
        fires: evaluates the condition from a snapshot and the threshold; returns the affected jobs if it is
            about jobs. None: only Prometheus can evaluate it.
        needs_broker: whether it is about beat, workers or queues, of which there are none without a broker.
    """

    severity: str
    name: str
    summary: str
    section: str
    threshold: float | None = None
    fires: Callable[[Snapshot, float], bool | Iterable[str]] | None = None
    needs_broker: bool = False


def firing(now: Snapshot) -> dict[Alert, list[str]]:
    """Return the alerts that would fire, each with the affected jobs; no jobs if it affects all."""
    found = {}
    for alert in ALERTS:
        result = alert.fires(now, alert.threshold or 0.0) if alert.fires else False
        names = [] if isinstance(result, bool) else list(result)
        if names or result is True:
            found[alert] = names
    return found


def _is_silent(now: Snapshot, seconds: float) -> bool:
    last = now.last_attempt
    return last is None or (now.taken_at - last).total_seconds() > seconds


def _are_late(now: Snapshot, seconds: float) -> bool:
    return now.backlog.age.total_seconds() > seconds


def _without_cache(now: Snapshot, _: float) -> Iterable[str]:
    return (spec.name for spec in now.specs if spec.cache in now.down)


def _failed(now: Snapshot, _: float) -> Iterable[str]:
    ended = (spec.name for spec in now.specs if spec.required and spec.name in now.totals)
    return (name for name in ended if now.last_run(name).state in NOT_COMPLETE)


def _stale(now: Snapshot, refreshes: float) -> Iterable[str]:
    for spec in now.specs:
        last = now.last_success(spec.name)
        if spec.required and spec.every and (not last or now.taken_at - last > refreshes * spec.every):
            yield spec.name


def _queued(now: Snapshot, seconds: float) -> Iterable[str]:
    return (spec.name for spec in now.specs if now.queue_wait(spec.name) > seconds)


def _cold(now: Snapshot, share: float) -> Iterable[str]:
    known = ((name, row.coverage) for name, row in now.observations.items())
    return (name for name, coverage in known if coverage is not None and coverage < share)


def _unobserved(now: Snapshot, _: float) -> Iterable[str]:
    return (name for name, row in now.observations.items() if row.error)


def _missing(now: Snapshot, share: float) -> Iterable[str]:
    for name, row in now.observations.items():
        rate, misses = row.hit_rate_hour, row.misses_hour or 0
        if rate is not None and rate < share and misses > HOUR.total_seconds():  # more than one a second
            yield name


def _overtaken(now: Snapshot, share: float) -> Iterable[str]:
    names = [spec.name for spec in now.specs]
    runs = WarmingRun.objects.filter(job__in=names, requested_at__gt=now.taken_at - HOUR).order_by()
    counted = runs.values_list("job").annotate(Sum("superseded"), Sum("written"))
    return (job for job, lost, kept in counted if lost > share * (lost + kept))


def _wrong(now: Snapshot, keys: float) -> Iterable[str]:
    return (job for job, audit in now.audits.items() if audit.unrepaired > keys)


critical, warning = partial(Alert, "critical"), partial(Alert, "warning")
RUNS, DOWN, EVICTED = "runs-are-stuck-expired-or-lost", "cache-down-connection-refused", "keys-are-evicted"
SILENT = "No job was observed for 5 minutes: beat or the workers have stopped."
LATE = "Invalidations have been pending for more than 2 minutes."
QUEUED = "A run has been waiting for a worker for more than 2 minutes."
MISSED = "No run was complete within three refreshes."
FEW = "Less than 90 % of the keys are cached."
OVERTAKEN = "Invalidations overtake more than 20 % of the writes."
ALERTS = (
    critical("WarmerMetricsMissing", "No metrics are being scraped.", "metrics-are-missing"),
    critical("WarmerScheduleSilent", SILENT, RUNS, 300, _is_silent, needs_broker=True),
    critical("WarmerCacheDown", "The cache is unreachable.", DOWN, 0, _without_cache),
    critical("WarmerInvalidationsWait", LATE, "invalidations-are-pending", 120, _are_late),
    critical("WarmerKeysWrong", "The last audit found wrong keys.", "pages-show-old-data", 0, _wrong),
    critical("WarmerRequiredJobFailed", "The last run did not complete.", RUNS, 1, _failed),
    critical("WarmerRequiredJobStale", MISSED, RUNS, 3, _stale, needs_broker=True),
    warning("WarmerRunsWait", QUEUED, RUNS, 120, _queued, needs_broker=True),
    warning("WarmerCoverageLow", FEW, "cache-cold-after-a-deploy", 0.9, _cold),
    warning("WarmerObservationFailing", "The keys cannot be observed.", DOWN, 1, _unobserved),
    warning("WarmerHitRateLow", "Less than 80 % of the reads are hits.", EVICTED, 0.8, _missing),
    warning("WarmerWritesFenced", OVERTAKEN, EVICTED, 0.2, _overtaken),
)
