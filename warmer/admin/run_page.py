"""A run's page: how it gets on, what happened to its keys, and who did the work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from warmer.models import State, WarmingBatch, WarmingRun
from warmer.report import Outcome

BATCHES_SHOWN = 50
WORKERS_SHOWN = 20
PHASES = ("load", "encode", "write", "wait")
# The parts of the page that change while a run is under way.
PARTS = ("keys", "asked", "work", "batches")
# A batch that was in hand when its run was cancelled is counted when it is done. Nobody knows whether there
# is one; most take less.
SETTLING = timedelta(minutes=1)

_MEANINGS = {
    Outcome.WRITTEN: "loaded and written",
    Outcome.SKIPPED: "skipped: still cached",
    Outcome.SUPERSEDED: "an invalidation overtook it: cold, not wrong",
    Outcome.NO_VALUE: "the loader has no value: deleted",
    Outcome.FAILED: "see below",
}


@dataclass(frozen=True, kw_only=True)
class OutcomeCount:
    """An outcome, counted."""

    outcome: str
    count: int
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of the work, in seconds summed over the workers."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, kw_only=True)
class WorkerShare:
    """A worker's part of a run."""

    worker: str
    batches: int
    last: datetime


def is_settled(run: WarmingRun) -> bool:
    """Say whether what the run came to changes no more."""
    if run.state != State.CANCELLED or run.started_at is None:
        return run.is_final
    seen = max(each for each in (run.started_at, run.heartbeat_at, run.finished_at) if each is not None)
    return timezone.now() - seen > SETTLING


def parts(context: dict[str, Any]) -> dict[str, str]:
    """Return the parts of the page that change, as HTML.

    Args:
        context: that of the page.
    """
    return {name: render_to_string(f"admin/warmer/warmingrun/parts/{name}.html", context) for name in PARTS}


def details(run: WarmingRun) -> dict[str, Any]:
    """Return what a run's page shows, with a bounded number of queries and rows."""
    batches, workers = _counted(run).defer("ids"), _workers(run)
    return {
        "progress": progress(run),
        "is_settled": is_settled(run),
        "progress_url": reverse("admin:warmer_warmingrun_progress", args=[run.pk]),
        "counts": [
            OutcomeCount(outcome=outcome.value, count=getattr(run, outcome.value), meaning=_MEANINGS[outcome])
            for outcome in Outcome
        ],
        "failures": run.report.failures,
        "more_failures": max(0, run.failed - len(run.failures)),
        "phases": phases(run),
        "workers": workers,
        "batches_told": sum(each.batches for each in workers),
        "batches": batches.order_by("-recorded_at", "-number")[:BATCHES_SHOWN],
        "more_batches": max(0, run.batches_done - BATCHES_SHOWN),
    }


def progress(run: WarmingRun) -> dict[str, Any]:
    """Return how a run gets on, as plain data.

    How long it will still take is told from its batches once all are sent out, before that from the
    keys of the job's last complete run.
    """
    report = run.report
    took = run.took or 0.0
    share = _share(run, report.keys)
    left = took * (1 - share) / share if share and not run.is_final else None
    return {
        "run": run.pk,
        "state": run.state,
        "final": run.is_final,
        "settled": is_settled(run),
        "batches_done": run.batches_done,
        "batches_total": run.batches_total,
        "keys": report.keys,
        "share": share,
        "percent": None if share is None else round(100 * share),
        "seconds": round(took, 1 if took >= 10 else 2),
        "keys_per_second": _rate(report.keys, took),
        "seconds_left": None if left is None else round(left, 1),
        "counts": {outcome.value: getattr(run, outcome.value) for outcome in Outcome},
    }


def phases(run: WarmingRun) -> list[Phase]:
    """Return what the seconds of work went into, where that was measured."""
    seconds = {name: float(getattr(run, f"{name}_seconds", None) or 0.0) for name in PHASES}
    whole = sum(seconds.values())
    return [Phase(name=name, seconds=each, share=each / whole) for name, each in seconds.items() if whole]


def _rate(keys: int, seconds: float) -> float | int | None:
    if not keys or not seconds:
        return None
    rate = keys / seconds
    return round(rate) if rate >= 10 else round(rate, 1)


def _share(run: WarmingRun, keys: int) -> float | None:
    if run.state == State.COMPLETE:
        return 1.0
    if run.batches_total is not None:
        return min(1.0, run.batches_done / run.batches_total) if run.batches_total else 1.0
    if run.is_final or not keys:
        return None
    last = WarmingRun.objects.filter(
        job=run.job, state=State.COMPLETE, only_missing=run.only_missing, pk__lt=run.pk
    ).first()
    expected = last.report.keys if last else 0
    return min(0.99, keys / expected) if expected else None


def _counted(run: WarmingRun) -> QuerySet[WarmingBatch]:
    return WarmingBatch.objects.filter(run=run, recorded_at__isnull=False)


def _workers(run: WarmingRun) -> list[WorkerShare]:
    rows = _counted(run).values("worker").order_by()
    counted = rows.annotate(count=Count("pk"), last=Max("recorded_at")).order_by("-count")[:WORKERS_SHOWN]
    return [
        WorkerShare(worker=row["worker"] or "not named", batches=row["count"], last=row["last"])
        for row in counted
    ]
