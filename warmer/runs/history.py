"""The newest runs of many jobs, at a cost that does not grow with the number of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections
from django.db.models import Max, OuterRef, QuerySet, Subquery

from warmer.models import JobObservation, WarmingRun

# SQLite takes at most 500 parts of a compound query.
MOST_JOBS = 200


def recent(names: Sequence[str], *, each: int) -> dict[str, list[WarmingRun]]:
    """Return the newest runs of each job, newest first, in one query.

    Args:
        names: at most `MOST_JOBS`.
        each: how many of each job.
    """
    found: dict[str, list[WarmingRun]] = {name: [] for name in names}
    if not found:
        return found
    first, *others = [_newest_of(name, each) for name in names[:MOST_JOBS]]
    runs: Any = first.union(*others, all=True) if others else first
    for run in sorted(runs, key=lambda run: -run.pk):
        found[run.job].append(run)
    return found


def last_runs(names: Iterable[str]) -> dict[str, WarmingRun]:
    """Return the newest run of each job that has one, in one query."""
    return {run.job: run for run in WarmingRun.objects.filter(pk__in=last_numbers(names))}


def last_numbers(names: Iterable[str]) -> QuerySet[WarmingRun, int]:
    """Return the number of the newest run of each job that has one, to be read or queried with."""
    of_jobs = WarmingRun.objects.filter(job__in=list(names)).values("job").order_by()
    return of_jobs.annotate(newest=Max("id")).values_list("newest", flat=True)


def last_states(names: Iterable[str]) -> dict[str, str]:
    """Return the state of the newest run of each job that has one.

    For jobs that were observed that is one step in an index for each; for others, all of their entries.
    """
    names = set(names)
    newest = WarmingRun.objects.filter(job=OuterRef("job")).order_by("-id").values("state")[:1]
    observed = JobObservation.objects.filter(job__in=names).annotate(state=Subquery(newest))
    states = dict(observed.values_list("job", "state"))
    if others := names - set(states):
        states |= {job: run.state for job, run in last_runs(others).items()}
    return {job: state for job, state in states.items() if state is not None}


def _newest_of(name: str, each: int) -> QuerySet[WarmingRun]:
    newest = WarmingRun.objects.filter(job=name).order_by("-id")
    if connections[newest.db].features.supports_slicing_ordering_in_compound:
        return newest[:each]
    return WarmingRun.objects.order_by().filter(pk__in=newest.values("pk")[:each])
