"""Observations: how much of a job is in the cache, how old it is, how often and how much of it is read.

An observation costs the declared ids, two queries and three round trips to the cache. It is kept as the job's
row, so that pages and metrics show all jobs with one query, whichever process made it.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.filling.read_counters import FLUSH_SECONDS
from warmer.models import JobObservation
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


def observe(spec: JobSpec) -> JobObservation:
    """Observe a job, and return its row.

    If that fails, as when the cache does not answer, the row has the error beside the last values.

    Raises:
        OperationalError, InterfaceError: the database of the observations does not answer.
    """
    now = timezone.now()
    fields: dict[str, Any] = {"attempted_at": now, "cache": describe_cache(spec.cache)}
    try:
        found = cover(spec)
        fields |= _reads(spec, found, now)
    except Exception as error:  # noqa: BLE001 - the ids and their database are the project's, as is the cache
        logger.warning("%s was not observed: %s", spec.name, describe(error))
        fields["error"] = describe(error)[:MAX_ERROR_LENGTH]
    else:
        fields |= {"observed_at": now, "error": "", "declared": found.declared, "sampled": found.sampled}
        fields |= {"cached": found.cached, "no_value": found.no_value, "oldest_seconds": found.oldest}
    row = JobObservation.objects.filter(job=spec.name)
    if not row.update(**fields):
        JobObservation.objects.update_or_create(job=spec.name, defaults=fields)
    return row.get()


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
    for done, spec in enumerate(specs):
        if time.monotonic() >= deadline:
            logger.warning("Observed %d of %d jobs in %d s; the others are next.", done, len(specs), seconds)
            return done
        observe(spec)
    return len(specs)


def _reads(spec: JobSpec, found: Coverage, now: datetime) -> dict[str, Any]:
    """Return how a job was read lately, and which share of its keys is read while it is warm.

    Readers note when they read the watched keys: those of the declared keys in a small hash sample. A key
    counts once it was watched for as long as a key lives.
    """
    fields: dict[str, Any] = dict.fromkeys(FIELDS)
    counters = spec.store.counters
    if counters is None or not conf.COUNT_READS:
        return fields
    span = min(spec.timeout, DAY) + DELAY
    hour, day, life = counters.recent(now.timestamp(), HOUR, DAY, span)
    fields |= {"hits_hour": hour["hits"], "misses_hour": hour["misses"]}
    fields |= {"hits_day": day["hits"], "misses_day": day["misses"]}
    loads = hour["written"] + hour["superseded"]
    fields["overtaken_hour"] = hour["superseded"] / loads if loads >= FEW_LOADS else None
    sample = found.sample.at_most(WATCHED)
    watched = counters.watch(sample.keys, every=sample.every, now=now.timestamp())
    began = (now - span).timestamp()
    ripe = {key: each for key, each in watched.items() if each.since <= began}
    if ripe:
        warm = [each for key, each in ripe.items() if key in found.cached_keys]
        fields |= {"watched": len(warm), "watched_read": sum(each.read_at >= began for each in warm)}
        fields["watched_share"] = len(sample.keys) / max(found.declared, len(sample.keys))
        fields["watched_misses"] = life["watched_misses"]
    return fields
