"""A snapshot of all jobs, from the shared database and caches, so it is the same in every process.

It costs five queries, a round trip per cache and one per queue, regardless of the number of jobs, runs and
processes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from warmer import invalidation
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.filling import read_counters
from warmer.invalidation import Backlog
from warmer.models import ACTIVE, CacheAudit, JobObservation, RunTotal, State, WarmingRun
from warmer.signals import queue_lengths_wanted


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All jobs as they are now.

    Attributes:
        totals: job -> the sums of its ended runs, by trigger and state: the columns of `RunTotal`.
        active: job -> its active run.
        observations, audits: job -> the last one.
        reads: job -> the read counts; missing for a cache that is down or keeps no counts.
        down: the aliases of the caches that do not answer.
        backlog: the pending invalidations.
        queues: the number of messages in each queue, if the broker reports it.
    """

    taken_at: datetime
    specs: Sequence[JobSpec]
    totals: Mapping[str, Sequence[Any]]
    active: Mapping[str, WarmingRun]
    observations: Mapping[str, JobObservation]
    audits: Mapping[str, CacheAudit]
    reads: Mapping[str, Mapping[str, int]]
    down: frozenset[str]
    backlog: Backlog
    queues: Mapping[str, int]

    def total(self, job: str, field: str) -> float:
        """Return a sum over the ended runs of a job."""
        return sum(float(getattr(row, field)) for row in self.totals[job])

    def last_run(self, job: str) -> Any:
        """Return the sum that includes a job's last ended run."""
        return max(self.totals[job], key=lambda row: row.last_at)

    def last_success(self, job: str) -> datetime | None:
        """Return when a run of the job was last complete."""
        complete = (row.last_at for row in self.totals.get(job, ()) if row.state == State.COMPLETE)
        return max(complete, default=None)

    def is_active(self, job: str, state: State) -> bool:
        """Return whether the job has a run in this active state."""
        return job in self.active and self.active[job].state == state

    def queue_wait(self, job: str) -> float:
        """Return the seconds that the job's run has been waiting for a worker."""
        if not self.is_active(job, State.QUEUED):
            return 0.0
        return max(0.0, (self.taken_at - self.active[job].requested_at).total_seconds())

    @property
    def last_attempt(self) -> datetime | None:
        """When any job was last observed, successfully or not."""
        return max((row.attempted_at for row in self.observations.values()), default=None)


def take() -> Snapshot:
    """Take a snapshot.

    Raises:
        OperationalError, InterfaceError: the database does not answer.
    """
    read_counters.flush()
    reads: dict[str, Mapping[str, int]] = {}
    down = set()
    for alias in {spec.cache: None for spec in jobs.specs()}:
        try:
            reads |= _reads([spec for spec in jobs.specs() if spec.cache == alias])
        except StoreUnavailable:
            down.add(alias)
    return snapshot(reads=reads, down=down, backlog=invalidation.backlog(), queues=_queues())


def snapshot(
    *,
    down: Iterable[str],
    backlog: Backlog,
    reads: Mapping[str, Mapping[str, int]] | None = None,
    queues: Mapping[str, int] | None = None,
) -> Snapshot:
    """Return a snapshot; missing arguments are read from the database, in four queries.

    Raises:
        OperationalError, InterfaceError: the database does not answer.
    """
    specs = jobs.specs()
    names = [spec.name for spec in specs]
    totals = defaultdict[str, list[Any]](list)
    # Not as objects: 1,000 jobs have many thousands of rows.
    for total in RunTotal.objects.filter(job__in=names).order_by("pk").values_list(named=True):
        totals[total.job].append(total)
    return Snapshot(
        taken_at=timezone.now(),
        specs=specs,
        totals=totals,
        active={run.job: run for run in WarmingRun.objects.filter(job__in=names, state__in=ACTIVE)},
        observations=JobObservation.objects.in_bulk(names, field_name="job"),
        audits=CacheAudit.objects.latest_per_job(names),
        reads=reads or {},
        down=frozenset(down),
        backlog=backlog,
        queues=queues or {},
    )


def _queues() -> dict[str, int]:
    answers = [answer for _, answer in queue_lengths_wanted.send_robust(None)]
    return {name: length for each in answers if isinstance(each, dict) for name, length in each.items()}


def _reads(specs: Sequence[JobSpec]) -> dict[str, dict[str, int]]:
    """Return the read counts of the jobs of one cache; empty if it keeps no counts."""
    counters = {spec.name: spec.store.counters for spec in specs if spec.store.counters}
    if not counters:
        specs[0].store.ping()
        return {}
    found = next(iter(counters.values())).totals(list(counters.values()))
    return dict(zip(counters, found, strict=True))
