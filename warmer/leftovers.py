"""What the outbox keeps, applied: invalidations that a cache did not take, or that a killed process left."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from warmer import outbox, pending
from warmer.applying import invalidations_of, reached, sweep_and_invalidate_again, tell
from warmer.changes import EVERY_KEY, NO_IDS, Ids, both
from warmer.exceptions import StoreUnavailable
from warmer.registry import jobs
from warmer.spec import JobSpec
from warmer.stores import invalidate_together

# A job that is still unknown after so long was removed.
ROLL_OUT = timedelta(days=1)


def apply_kept() -> int:
    """Apply what the outbox keeps, oldest first; return how many rows were done.

    Raises:
        StoreUnavailable: the cache does not answer; the rest is tried again later, after a pause that
            doubles with each failure.
    """
    done = 0
    for using in outbox.aliases():
        while rows := outbox.due(using=using):
            ids = pending.bounded(_merged(rows))
            invalidations = invalidations_of(ids)
            try:
                invalidate_together(invalidations)
                sweep_and_invalidate_again(invalidations)
            except StoreUnavailable:
                outbox.postpone(rows, using=using)
                raise
            reached("invalidated", ids)
            lag = timezone.now() - min(row.recorded_at for row in rows)
            foreign = [row for row in rows if _is_for_other_code(row)]
            for row in foreign:
                if len(left := _unknown(row)) < len(row.jobs):
                    outbox.narrow(row, left, using=using)
            outbox.postpone(foreign, using=using)
            dropped = outbox.drop([row.pk for row in rows if row not in foreign], using=using)
            done += len(rows) - len(foreign)
            tell(ids, invalidations, lag=lag)
            if not dropped:
                break  # they are due yet: else they would be applied again and again
    return done


def _is_for_other_code(row: Any) -> bool:
    """Say whether a row names a job that only other code may know, as while a release is rolled out."""
    return bool(_unknown(row)) and timezone.now() - row.recorded_at < ROLL_OUT


def _unknown(row: Any) -> list[str]:
    """Return the names in a row of jobs that this code does not know."""
    return [name for name in row.jobs if not _meant(row, name)]


def _meant(row: Any, name: str) -> list[JobSpec]:
    """Return the jobs that a row means by a name: those that have its key now, whatever they are called."""
    key = row.keys.get(name)
    if key is None:
        return [jobs[name].spec] if name in jobs else []
    return [spec for spec in jobs.specs() if str(spec.key) == key]


def _merged(rows: Iterable[Any]) -> dict[JobSpec, Ids]:
    merged: dict[JobSpec, Ids] = {}
    for row in rows:
        for spec, ids in [(spec, ids) for name, ids in row.jobs.items() for spec in _meant(row, name)]:
            asked = EVERY_KEY if ids is None else frozenset(ids)
            merged[spec] = both(merged.get(spec, NO_IDS), asked)
    return merged
