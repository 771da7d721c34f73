"""What runs of a job cost so far."""

from __future__ import annotations

from dataclasses import dataclass

from warmer.models import State, WarmingRun


@dataclass(frozen=True, kw_only=True)
class PastCost:
    """What a job's last complete full runs cost, on average.

    Attributes:
        seconds_per_key: of the whole run, from its start to its end.
        seconds_per_batch: of a batch's own work, whoever did it.
    """

    seconds_per_key: float
    seconds_per_batch: float
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
    batches = max(1, sum(report.batches for _, report in reports))
    return PastCost(
        seconds_per_key=sum(took for took, _ in reports) / sum(report.keys for _, report in reports),
        seconds_per_batch=sum(report.seconds for _, report in reports) / batches,
        queries_per_batch=sum(max(0, report.queries - keyed) for _, report in reports) / batches,
    )
