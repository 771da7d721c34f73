"""A snapshot of all jobs, out of the shared database and caches: any process takes the same one.

It costs a handful of queries and a round trip a cache, however many jobs, runs and processes there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from warmer import invalidation
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.filling import read_counters
from warmer.invalidation import Backlog
from warmer.models import ACTIVE, CacheAudit, RunTotal, WarmingRun
from warmer.monitoring import audit, observation
from warmer.monitoring.observation import Observation
from warmer.stores import Tallies


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All jobs as they are now.

    Attributes:
        taken_at: when that is.
        specs: the declared jobs.
        totals: what the ended runs of each job came to, by trigger and state.
        active: the run of each job that has not ended, where there is one.
        observations: the last of each job.
        audits: the last of each job.
        reads: what readers counted of each job; of a cache that does not answer, or cannot count, nothing.
        answers: of each job, whether its cache answers.
        backlog: the invalidations that wait.
    """

    taken_at: datetime
    specs: Sequence[JobSpec]
    totals: Mapping[str, Sequence[RunTotal]]
    active: Mapping[str, WarmingRun]
    observations: Mapping[str, Observation]
    audits: Mapping[str, CacheAudit]
    reads: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, bool]
    backlog: Backlog


def take() -> Snapshot:
    """Take a snapshot.

    Raises:
        OperationalError, InterfaceError: the database does not answer.
    """
    specs = jobs.specs()
    names = [spec.name for spec in specs]
    totals: dict[str, list[RunTotal]] = defaultdict(list)
    for total in RunTotal.objects.filter(job__in=names).order_by("pk"):
        totals[total.job].append(total)
    read_counters.flush()
    reads, answers = _ask_caches(specs)
    return Snapshot(
        taken_at=timezone.now(),
        specs=specs,
        totals=totals,
        active={run.job: run for run in WarmingRun.objects.filter(job__in=names, state__in=ACTIVE)},
        observations=observation.latest(names),
        audits=audit.last_audits(names),
        reads=reads,
        answers=answers,
        backlog=invalidation.backlog(),
    )


def _ask_caches(specs: Sequence[JobSpec]) -> tuple[dict[str, dict[str, int]], dict[str, bool]]:
    reads: dict[str, dict[str, int]] = {}
    answers: dict[str, bool] = {}
    by_alias: dict[str, list[JobSpec]] = defaultdict(list)
    for spec in specs:
        by_alias[spec.cache].append(spec)
    for of_alias in by_alias.values():
        try:
            found = _totals(of_alias)
        except StoreUnavailable:
            answers |= dict.fromkeys((spec.name for spec in of_alias), False)
        else:
            answers |= dict.fromkeys((spec.name for spec in of_alias), True)
            reads |= found
    return reads, answers


def _totals(specs: Sequence[JobSpec]) -> dict[str, dict[str, int]]:
    """Return what readers counted of the jobs of one cache; none where it cannot count."""
    counting: dict[str, Tallies] = {
        spec.name: tallies for spec in specs if (tallies := spec.store.tallies) is not None
    }
    if not counting:
        specs[0].store.ping()
        return {}
    first = next(iter(counting.values()))
    return dict(zip(counting, first.totals(list(counting.values())), strict=True))
