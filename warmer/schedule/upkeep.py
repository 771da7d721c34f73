"""What beat sends for `warmer` itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from warmer.tasks import apply_pending, close_stalled_runs, forget_runs, observe_jobs


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """Something that `warmer` does for itself."""

    name: str
    task: str
    every: timedelta
    description: str


UPKEEP = (
    Upkeep(
        name="warmer: close stalled runs",
        task=close_stalled_runs.name,
        every=timedelta(minutes=1),
        description="Ends runs whose worker is gone.",
    ),
    Upkeep(
        name="warmer: apply pending invalidations",
        task=apply_pending.name,
        every=timedelta(seconds=15),
        description="Applies invalidations that the cache could not take when their change was committed.",
    ),
    Upkeep(
        name="warmer: observe the jobs",
        task=observe_jobs.name,
        every=timedelta(minutes=1),
        description="Looks how much of each job is cached, how old it is, and how much it is read.",
    ),
    Upkeep(
        name="warmer: forget old runs",
        task=forget_runs.name,
        every=timedelta(days=1),
        description="Deletes the runs that ended longer ago than WARMER_RUN_RETENTION.",
    ),
)
