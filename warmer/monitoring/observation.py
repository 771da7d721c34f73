"""Observations: how much of a job is in the cache, how old it is, and how much it is read.

A look at a job costs a bounded sample of its declared ids and one round trip for their lives. It is kept as
the job's row, so that pages and metrics show all jobs with one query, whichever process looked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.models import JobObservation
from warmer.monitoring import looking
from warmer.report import MAX_ERROR_LENGTH, describe

logger = logging.getLogger(__name__)

# A job of which so much is cached is warm: a key that expired a moment ago makes no alarm.
WARM_SHARE = 0.99
# While a release is rolled out, a worker may not know yet what others observe.
ROLL_OUT = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the last look at a job found.

    Attributes:
        looked_at: when it was, with success or not.
        observed_at: when the last one with success was; None when there was none yet, or the keys were all
            invalidated since.
        error: why the last look failed; the rest is then of the one before.
        declared: how many ids are declared, at most `coverage.IDS_READ`.
        sampled: how many of them were looked at.
        cached: how many of these have a value in the cache.
        no_value: how many of the others can have none: the loader has no value for them.
        oldest: the age of the oldest cached key, its timeout less what it has left; a job's jitter
            counts as age. None when it is not known, as on caches that do not tell.
        hits_hour, misses_hour, hits_day, misses_day: reads of the last hour and day; None when they are
            not counted.
        effectiveness_until: the end of the last period of which the effectiveness is known.
        effectiveness_due: when it is known anew.
        watched: how many warm keys were watched in that period.
        watched_read: how many of them were read in it.
        watched_share: the share of the declared keys that was watched.
        watched_misses: how many reads of watched keys missed, though the job declares them.
    """

    job: str
    looked_at: datetime | None = None
    observed_at: datetime | None = None
    error: str = ""
    declared: int = 0
    sampled: int = 0
    cached: int = 0
    no_value: int = 0
    oldest: timedelta | None = None
    hits_hour: int | None = None
    misses_hour: int | None = None
    hits_day: int | None = None
    misses_day: int | None = None
    effectiveness_until: datetime | None = None
    effectiveness_due: datetime | None = None
    watched: int | None = None
    watched_read: int | None = None
    watched_share: float | None = None
    watched_misses: int | None = None

    @property
    def is_void(self) -> bool:
        """Whether the keys were all invalidated since the last look, and nothing is known of them."""
        return self.observed_at is None and not self.error

    @property
    def coverage(self) -> float | None:
        """The share of the keys that can be cached and are, 0 to 1; None when that is not known."""
        can_be = self.sampled - self.no_value
        return self.cached / can_be if can_be > 0 else None

    @property
    def state(self) -> str | None:
        """`warm`, `partly` or `cold`; None when that is not known, or not now: the last look failed."""
        if self.error or self.coverage is None:
            return None
        if self.coverage >= WARM_SHARE:
            return "warm"
        return "partly" if self.cached else "cold"

    @property
    def hit_rate_hour(self) -> float | None:
        """The share of the last hour's reads that hit, 0 to 1; None without reads."""
        return _rate(self.hits_hour, self.misses_hour)

    @property
    def hit_rate_day(self) -> float | None:
        """The share of the last day's reads that hit, 0 to 1; None without reads."""
        return _rate(self.hits_day, self.misses_day)

    @property
    def effectiveness(self) -> float | None:
        """The share of the warm keys that were read before they would have expired, 0 to 1."""
        if not self.watched or self.watched_read is None:
            return None
        return self.watched_read / self.watched

    @property
    def effectiveness_margin(self) -> float | None:
        """How far off that share may be, at 95 % confidence; 0 when every declared key was watched."""
        if not self.watched or self.watched_share is None:
            return None
        return 0.0 if self.watched_share >= 1 else float(min(1.0, 0.98 / self.watched**0.5))

    @property
    def missed_while_declared(self) -> int | None:
        """About how many reads of declared keys missed in that period; None when that is not known."""
        if self.watched_misses is None or not self.watched_share:
            return None
        return round(self.watched_misses / self.watched_share)


def latest(names: Iterable[str]) -> dict[str, Observation]:
    """Return the last observation of each job that has one, in one query."""
    return {row.job: _of_row(row) for row in JobObservation.objects.filter(job__in=list(names))}


def observe(spec: JobSpec) -> Observation:
    """Look at a job's keys, keep what was found, and return it.

    A look that fails, as when the cache does not answer, is kept as an error beside the last values.

    Raises:
        OperationalError, InterfaceError: the database does not answer.
    """
    row = JobObservation.objects.filter(job=spec.name).first() or JobObservation(job=spec.name)
    row.looked_at = timezone.now()
    seen = copy(row)
    try:
        looking.look(spec, seen)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 - the declared ids are the project's own, as is the cache
        logger.warning("%s was not observed: %s", spec.name, describe(error))
        row.error = describe(error)[:MAX_ERROR_LENGTH]
    else:
        row = seen
        row.error, row.observed_at = "", row.looked_at
    _keep(row)
    return _of_row(row)


def observe_all(*, seconds: float) -> int:
    """Observe every job, those first that were not for the longest; return how many were.

    Args:
        seconds: begin no further look after so long.
    """
    gone = JobObservation.objects.exclude(job__in=list(jobs))
    gone.filter(looked_at__lt=timezone.now() - ROLL_OUT).delete()
    looked_at = dict(JobObservation.objects.values_list("job", "looked_at"))
    specs = sorted(jobs.specs(), key=lambda spec: (spec.name in looked_at, looked_at.get(spec.name)))
    ends = time.monotonic() + seconds
    done = 0
    for spec in specs:
        if time.monotonic() >= ends:
            logger.warning(
                "%d of %d jobs were observed in %d s: the others are first next time",
                done,
                len(specs),
                seconds,
            )
            break
        observe(spec)
        done += 1
    return done


def void(job: str) -> None:
    """Forget what was seen of a job's keys, as it no longer holds; the next look sees them anew.

    What is known of its traffic stays, and so does when it was looked at last: beat is known by that.
    """
    JobObservation.objects.filter(job=job).update(
        observed_at=None, error="", declared=0, sampled=0, cached=0, no_value=0, oldest_seconds=None
    )


def _keep(row: JobObservation) -> None:
    if not row._state.adding:
        row.save()
        return
    fields = [field.name for field in row._meta.concrete_fields if not field.primary_key]
    values = {name: getattr(row, name) for name in fields}
    JobObservation.objects.update_or_create(job=row.job, defaults=values)


def _rate(hits: int | None, misses: int | None) -> float | None:
    return None if hits is None or misses is None or not hits + misses else hits / (hits + misses)


def _of_row(row: JobObservation) -> Observation:
    return Observation(
        job=row.job,
        looked_at=row.looked_at,
        observed_at=row.observed_at,
        error=row.error,
        declared=row.declared,
        sampled=row.sampled,
        cached=row.cached,
        no_value=row.no_value,
        oldest=None if row.oldest_seconds is None else timedelta(seconds=row.oldest_seconds),
        hits_hour=row.hits_hour,
        misses_hour=row.misses_hour,
        hits_day=row.hits_day,
        misses_day=row.misses_day,
        effectiveness_until=row.watched_until,
        effectiveness_due=row.panel_ends_at,
        watched=row.watched,
        watched_read=row.watched_read,
        watched_share=row.watched_share,
        watched_misses=row.watched_misses,
    )
