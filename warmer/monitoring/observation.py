"""Observations: the cached share of a job's keys, their age, and how often and how many of them are read.

An observation costs reading the declared ids, four queries and three round trips to the cache. It is stored
in the job's row, so that pages and metrics show all jobs with one query, and added to the job's row for the
hour, which is its history.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from warmer.exceptions import InvalidId, log_level
from warmer.filling.loading import find_ids
from warmer.filling.pipeline import Interrupts
from warmer.filling.read_counters import FLUSH_SECONDS
from warmer.models import JobHour, JobObservation, State, WarmingRun, start_of_hour
from warmer.report import MAX_ERROR_LENGTH, describe
from warmer.stores import describe_cache, in_sample

logger = logging.getLogger(__name__)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# 500 to 1,000 keys give a share to about 4 points at 95 % confidence.
SAMPLE = 1_000
# The first ids represent those of a larger job: reading this many takes about 0.2 s.
IDS_READ = 100_000

# A share of this many keys is accurate to 7 points at 95 % confidence, or exact if these are all.
WATCHED = 250
# With fewer loads in an hour, overtaken ones mean little.
FEW_LOADS = 10
# Until every process knows which keys are watched, and has flushed its reads.
DELAY = timedelta(seconds=2 * FLUSH_SECONDS)
# During a rollout, a worker may not know jobs that others observe.
ROLL_OUT = timedelta(days=1)

# Fields that are unknown if reads are not counted; the last four also until a key's lifetime has passed.
FIELDS = (
    *("hits_hour", "misses_hour", "hits_day", "misses_day", "overtaken_hour"),
    *("watched", "watched_read", "watched_share", "watched_misses"),
)


@dataclass(frozen=True, kw_only=True)
class HashSample:
    """The keys of a job whose hash is a multiple of `every`: the same in all processes and at all times."""

    keys: Sequence[str]
    every: int = 1

    def at_most(self, size: int) -> HashSample:
        """Return a small enough sample of these keys."""
        keys, every = self.keys, self.every
        while len(keys) > size:
            every *= 2
            keys = [key for key in keys if in_sample(key, every)]
        return HashSample(keys=keys, every=every)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The cached share of a job's keys.

    Attributes:
        declared: how many ids are declared, at most `IDS_READ`; 1 for a single job.
        sample: the keys that were looked up.
        cached_keys: those of them that are cached.
        no_value: about how many of the others have no value, according to the job's last full run.
        oldest: the seconds since the oldest key was written; a job's jitter counts as age.
        shortest: the seconds until the first key expires; None for both: unknown.
    """

    declared: int
    sample: HashSample
    cached_keys: Collection[str]
    no_value: int
    oldest: float | None
    shortest: float | None

    @property
    def sampled(self) -> int:
        """The number of looked-up keys."""
        return len(self.sample.keys)

    @property
    def cached(self) -> int:
        """The number of these that are cached."""
        return len(self.cached_keys)

    @property
    def share(self) -> float | None:
        """The cached share of the keys that have a value, 0 to 1; None if there are none."""
        with_value = self.sampled - self.no_value
        return self.cached / with_value if with_value > 0 else None


def cover(spec: JobSpec) -> Coverage:
    """Measure a job's coverage: read its declared ids, its last full run, and the cache in one round trip.

    Raises:
        StoreUnavailable: the cache does not answer.
        OperationalError, InterfaceError: the database does not answer.
        Exception: anything the declared `ids` raises.
    """
    keys, declared = dict[str, None](), 0
    for id in find_ids(spec, at_most=IDS_READ) if spec.keyed else (None,):
        declared += 1
        with suppress(InvalidId):  # a run counts it as failed
            keys[spec.key.key(id)] = None
    sample = HashSample(keys=list(keys)).at_most(SAMPLE)
    lives = spec.store.remaining(sample.keys)
    shortest = min((left for left in lives.values() if left is not None), default=None)
    run = WarmingRun.objects.complete_and_full(spec.name).first()
    # Ids for which the last full run found no value do not count as cold.
    share = run.no_value / run.report.keys if run is not None and run.report.keys else 0.0
    return Coverage(
        declared=declared,
        sample=sample,
        cached_keys=lives.keys(),
        no_value=min(len(sample.keys) - len(lives), round(share * len(sample.keys))),
        oldest=None if shortest is None else max(0.0, spec.timeout.total_seconds() - shortest),
        shortest=shortest,
    )


def observe(spec: JobSpec, *, pending: int | None = None, interrupts: Interrupts = ()) -> JobObservation:
    """Observe a job, and return its row.

    If this fails, e.g. because the cache does not answer, the row has the error in addition to the last
    values.

    Args:
        pending: the number of its pending invalidations, for its history.
        interrupts: errors that are raised once they are in the row, such as a time limit.

    Raises:
        OperationalError, InterfaceError: the database of the observations does not answer.
    """
    now = timezone.now()
    row, _ = JobObservation.objects.get_or_create(job=spec.name)
    recent = dict[str, Counter[str]]()
    fields: dict[str, Any] = {"attempted_at": now, "cache": describe_cache(spec.cache)}
    failure: Exception | None = None
    try:
        found = cover(spec)
        recent = _recent(spec, now)
        fields |= _reads(spec, found, recent, now)
    except Exception as error:  # noqa: BLE001 - the ids and their database are the project's, as is the cache
        level = log_level(error, logging.WARNING)
        logger.log(level, "%s was not observed: %s", spec.name, describe(error))
        failure, fields["error"] = error, describe(error)[:MAX_ERROR_LENGTH]
    else:
        fields |= {"observed_at": now, "error": "", "declared": found.declared, "sampled": found.sampled}
        fields |= {"cached": found.cached, "no_value": found.no_value, "oldest_seconds": found.oldest}
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=fields)
    if hour := _hour(row, recent, pending):
        JobHour.objects.put(spec.name, now, **hour)
    if failure is not None and isinstance(failure, interrupts):
        raise failure
    return row


def observe_after(run: WarmingRun) -> None:
    """Observe the job of a finished run, so that pages show the result immediately. Never raises."""
    if run.state in (State.COMPLETE, State.INCOMPLETE) and run.job in jobs:
        try:
            observe(jobs[run.job].spec)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("%s was not observed after %s: %s", run.job, run, describe(error))


def observe_all(*, seconds: float, interrupts: Interrupts = ()) -> int:
    """Observe every job, least recently observed first; return how many were observed.

    Args:
        seconds: start no more observations after this time.
        interrupts: errors that end the observations, such as a time limit.
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
        observe(spec, pending=pending[spec.name], interrupts=interrupts)
    return len(specs)


def _life(spec: JobSpec) -> timedelta:
    return min(spec.timeout, DAY) + DELAY


def _recent(spec: JobSpec, now: datetime) -> dict[str, Counter[str]]:
    """Return the counts of a job's reads in each period; none if reads are not counted."""
    counters = spec.store.counters
    if counters is None or not conf.COUNT_READS:
        return {}
    # Slightly more than the current hour so far, to include the slot that begins it and none before.
    this = now - start_of_hour(now) + timedelta(microseconds=1)
    spans = {"hour": HOUR, "day": DAY, "life": _life(spec), "this hour": this}
    return dict(zip(spans, counters.recent(now.timestamp(), *spans.values()), strict=True))


def _reads(
    spec: JobSpec, found: Coverage, recent: Mapping[str, Counter[str]], now: datetime
) -> dict[str, Any]:
    """Return how a job was read recently, and which share of its keys is read while warm.

    Readers record when they read watched keys, a small hash sample of the declared ones. A key counts once it
    has been watched for the lifetime of a key.
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


def _hour(row: JobObservation, recent: Mapping[str, Counter[str]], pending: int | None) -> dict[str, Any]:
    """Return what an observation adds to the job's hour.

    Read counts cover the whole hour so far, so that each read counts once.
    """
    values: dict[str, Any] = {}
    if pending is not None:
        values["pending_max"] = Greatest(Coalesce(F("pending_max"), Value(0)), pending)
    if not row.error and row.coverage is not None:
        values |= {"observed": F("observed") + 1, "coverage_sum": F("coverage_sum") + row.coverage}
        values["coverage_min"] = Least(F("coverage_min"), row.coverage)
    if recent:
        # They never decrease, even if a cache lost its counts.
        counts = recent["this hour"]
        values |= {name: Greatest(F(name), counts[name]) for name in ("hits", "misses")}
    return values
