"""Observations: how much of a job is in the cache, how old it is, how often and how much of it is read.

An observation costs the declared ids, four queries and three round trips to the cache. It is kept as the
job's row, so that pages and metrics show all jobs with one query, whichever process made it, and added to the
job's hour, which is its history.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.models import F, Value
from django.db.models.functions import Coalesce, Greatest, Least
from django.utils import timezone

from warmer import invalidation
from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.filling.read_counters import FLUSH_SECONDS
from warmer.models import JobHour, JobObservation, State, WarmingRun, start_of_hour
from warmer.monitoring.coverage import Coverage, cover
from warmer.report import MAX_ERROR_LENGTH, describe
from warmer.stores import describe_cache

logger = logging.getLogger(__name__)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# A share of so many keys is known to 7 points at 95 % confidence, and better where these are all.
WATCHED = 250
# Of fewer loads in an hour, it says little that changes overtook some.
FEW_LOADS = 10
# Until every process has heard which keys are watched, and until each has flushed what it read.
DELAY = timedelta(seconds=2 * FLUSH_SECONDS)
# While a release is rolled out, a worker may not know yet what others observe.
ROLL_OUT = timedelta(days=1)

# The fields that are unknown where reads are not counted; the last four also until a key's life has passed.
FIELDS = (
    *("hits_hour", "misses_hour", "hits_day", "misses_day", "overtaken_hour"),
    *("watched", "watched_read", "watched_share", "watched_misses"),
)


def observe(spec: JobSpec, *, pending: int | None = None, in_mean: bool = True) -> JobObservation:
    """Observe a job, and return its row.

    If that fails, as when the cache does not answer, the row has the error beside the last values.

    Args:
        pending: how many invalidations wait for it, for its history.
        in_mean: count its coverage in the mean of the job's hour, which is of observations at regular times.

    Raises:
        OperationalError, InterfaceError: the database of the observations does not answer.
    """
    now = timezone.now()
    row, _ = JobObservation.objects.get_or_create(job=spec.name)
    last, recent = row.observed_at, dict[str, Counter[str]]()
    fields: dict[str, Any] = {"attempted_at": now, "cache": describe_cache(spec.cache)}
    try:
        found = cover(spec)
        recent = _recent(spec, now)
        fields |= _reads(spec, found, recent, now)
    except Exception as error:  # noqa: BLE001 - the ids and their database are the project's, as is the cache
        logger.warning("%s was not observed: %s", spec.name, describe(error))
        fields["error"] = describe(error)[:MAX_ERROR_LENGTH]
    else:
        fields |= {"observed_at": now, "error": "", "declared": found.declared, "sampled": found.sampled}
        fields |= {"cached": found.cached, "no_value": found.no_value, "oldest_seconds": found.oldest}
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=fields)
    try:
        _put_hour(row, recent, pending, now=now, last=last, in_mean=in_mean)
    except DatabaseError as error:
        logger.error("The history of %s lacks an observation: %s", spec.name, describe(error))
    return row


def observe_after(run: WarmingRun) -> None:
    """Observe the job of a run that did its work, so that pages show the result at once. Never raises."""
    if run.state in (State.COMPLETE, State.INCOMPLETE) and run.job in jobs:
        try:
            observe(jobs[run.job].spec, in_mean=False)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("%s was not observed after %s: %s", run.job, run, describe(error))


def observe_all(*, seconds: float) -> int:
    """Observe every job, the longest unobserved first; return how many.

    Args:
        seconds: start no further observation after this time.
    """
    gone = JobObservation.objects.exclude(job__in=list(jobs))
    gone.filter(attempted_at__lt=timezone.now() - ROLL_OUT).delete()
    attempts = dict(JobObservation.objects.values_list("job", "attempted_at"))
    specs = sorted(jobs.specs(), key=lambda spec: (spec.name in attempts, attempts.get(spec.name)))
    deadline = time.monotonic() + seconds
    pending = invalidation.backlog().by_job
    for done, spec in enumerate(specs):
        if time.monotonic() >= deadline:
            logger.warning("Observed %d of %d jobs in %d s; the others are next.", done, len(specs), seconds)
            return done
        observe(spec, pending=pending[spec.name])
    return len(specs)


def _life(spec: JobSpec) -> timedelta:
    return min(spec.timeout, DAY) + DELAY


def _recent(spec: JobSpec, now: datetime) -> dict[str, Counter[str]]:
    """Return the counts of a job's reads in each of some spans; none where reads are not counted."""
    counters = spec.store.counters
    if counters is None or not conf.COUNT_READS:
        return {}
    # The least more than the clock's hour so far: with it the slot that begins it counts, and none before.
    this = now - start_of_hour(now) + timedelta(microseconds=1)
    spans = {"hour": HOUR, "day": DAY, "life": _life(spec), "this hour": this, "and before": this + HOUR}
    return dict(zip(spans, counters.recent(now.timestamp(), *spans.values()), strict=True))


def _reads(
    spec: JobSpec, found: Coverage, recent: Mapping[str, Counter[str]], now: datetime
) -> dict[str, Any]:
    """Return how a job was read lately, and which share of its keys is read while it is warm.

    Readers note when they read the watched keys: those of the declared keys in a small hash sample. A key
    counts once it was watched for as long as a key lives.
    """
    fields: dict[str, Any] = dict.fromkeys(FIELDS)
    counters = spec.store.counters
    if counters is None or not recent:
        return fields
    fields |= {"hits_hour": recent["hour"]["hits"], "misses_hour": recent["hour"]["misses"]}
    fields |= {"hits_day": recent["day"]["hits"], "misses_day": recent["day"]["misses"]}
    loads = recent["hour"]["written"] + recent["hour"]["superseded"]
    fields["overtaken_hour"] = recent["hour"]["superseded"] / loads if loads >= FEW_LOADS else None
    sample = found.sample.at_most(WATCHED)
    watched = counters.watch(sample.keys, every=sample.every, now=now.timestamp())
    began = (now - _life(spec)).timestamp()
    ripe = {key: each for key, each in watched.items() if each.since <= began}
    if ripe:
        warm = [each for key, each in ripe.items() if key in found.cached_keys]
        fields |= {"watched": len(warm), "watched_read": sum(each.read_at >= began for each in warm)}
        fields["watched_share"] = len(sample.keys) / max(found.declared, len(sample.keys))
        fields["watched_misses"] = recent["life"]["watched_misses"]
    return fields


def _put_hour(
    row: JobObservation,
    recent: Mapping[str, Counter[str]],
    pending: int | None,
    *,
    now: datetime,
    last: datetime | None,
    in_mean: bool,
) -> None:
    """Add an observation to the job's hour.

    The counts of reads are those of the whole hour so far, so that each read counts once. The first
    observation of an hour completes the hour before.

    Args:
        last: when the job was observed before.
    """
    values: dict[str, Any] = {}
    if pending is not None:
        values["pending_max"] = Greatest(Coalesce(F("pending_max"), Value(0)), pending)
    if in_mean and not row.error and row.coverage is not None:
        values |= {"observed": F("observed") + 1, "coverage_sum": F("coverage_sum") + row.coverage}
        values["coverage_min"] = Least(F("coverage_min"), row.coverage)
    if recent:
        values |= _at_least(recent["this hour"])
        if last is None or last < start_of_hour(now):
            before = JobHour.objects.filter(job=row.job, hour=start_of_hour(now) - HOUR)
            before.update(**_at_least(recent["and before"] - recent["this hour"]))
    if values:
        JobHour.objects.put(row.job, now, **values)


def _at_least(counts: Counter[str]) -> dict[str, Greatest]:
    """Return counts of reads to put in: a cache that lost its counts does not lower what is known."""
    return {name: Greatest(F(name), counts[name]) for name in ("hits", "misses")}
