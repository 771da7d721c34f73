"""What runs of a job cost so far."""

from __future__ import annotations

from dataclasses import dataclass

from warmer.models import State, WarmingRun


@dataclass(frozen=True, kw_only=True)
class PastCost:
    """What a job's last complete full runs cost, on average."""

    seconds_per_key: float
    queries_per_batch: float


def past_cost(job: str, *, keyed: bool = True, runs: int = 5) -> PastCost | None:
    """Return what a job cost in its last complete full runs, or None without any.

    Args:
        keyed: a query of each run was for the ids, and is not counted.
    """
    past = WarmingRun.objects.filter(job=job, state=State.COMPLETE, only_missing=False)[:runs]
    reports = [(run.took or 0.0, run.report) for run in past if run.report.keys]
    if not reports:
        return None
    return PastCost(
        seconds_per_key=sum(took for took, _ in reports) / sum(report.keys for _, report in reports),
        queries_per_batch=sum(max(0, report.queries - keyed) for _, report in reports)
        / max(1, sum(report.batches for _, report in reports)),
    )
