"""Invalidations that are kept in the database until they were applied.

Inside a transaction a row is written with the change itself, so that a process that is killed between
commit and invalidation loses nothing; outside, when the cache did not answer. What is left over is
applied by a task, oldest first.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import Error, connections, router
from django.db.models import Count, Min
from django.utils import timezone

from warmer.conf import conf
from warmer.report import describe

if TYPE_CHECKING:
    from warmer.models import PendingInvalidation

logger = logging.getLogger(__name__)

# While the cache is away, its invalidations are tried again after 1, 2, 4, ... seconds, at most this.
LONGEST_PAUSE = timedelta(minutes=1)

# Of so many the jobs are told: each row may hold many ids.
COUNTED_BY_JOB = 500


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Invalidations as they are written down.

    Attributes:
        ids: job name -> ids; None: every key of the job.
        keys: job name -> its key as declared.
    """

    ids: Mapping[str, Sequence[Any] | None]
    keys: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What is waiting on all databases."""

    count: int = 0
    oldest: datetime | None = None

    @property
    def age(self) -> timedelta:
        """How long the oldest has been waiting."""
        return timezone.now() - self.oldest if self.oldest else timedelta(0)


def keep(kept: Kept, *, using: str) -> int | None:
    """Write invalidations down on the database of their change; return the row's number.

    Returns:
        None when nothing is kept: `WARMER_DURABLE_INVALIDATION` is off, the table is not there (said in
        the log, once), or, outside a transaction, the database does not answer (said in the log).

    Raises:
        Error: inside a transaction, which cannot go on then.
    """
    if not conf.DURABLE_INVALIDATION:
        return None
    try:
        if not _has_table(using):
            return None
        return int(_rows(using).create(jobs=dict(kept.ids), keys=dict(kept.keys)).pk)
    except Error as error:
        if connections[using].in_atomic_block:
            raise
        logger.error(
            "Invalidations of %s could not be kept: %s. Their old values stay until their timeout",
            ", ".join(kept.ids),
            describe(error),
        )
        return None


def drop(numbers: Iterable[int], *, using: str) -> bool:
    """Forget invalidations that were applied; return whether that was possible."""
    numbers = list(numbers)
    if not numbers:
        return True
    try:
        _rows(using).filter(pk__in=numbers).delete()
    except Error as error:
        # Applied once more than needed, then: that costs a miss.
        logger.warning("Applied invalidations could not be dropped: %s", describe(error))
        return False
    return True


def holds(numbers: Collection[int], *, using: str) -> bool:
    """Say whether some of these rows are waiting yet."""
    return bool(numbers) and bool(_rows(using).filter(pk__in=numbers).exists())


def due(*, using: str, limit: int = 100) -> list[PendingInvalidation]:
    """Return the oldest invalidations that are to be tried now."""
    if not _has_table(using):
        return []
    return list(_rows(using).filter(due_at__lte=timezone.now()).order_by("pk")[:limit])


def postpone(rows: Sequence[PendingInvalidation], *, using: str) -> None:
    """Have invalidations tried again later: at each failure after twice the time."""
    for attempts in {row.attempts for row in rows}:
        pause = min(timedelta(seconds=2 ** min(attempts, 16)), LONGEST_PAUSE)
        numbers = [row.pk for row in rows if row.attempts == attempts]
        _rows(using).filter(pk__in=numbers).update(attempts=attempts + 1, due_at=timezone.now() + pause)


def narrow(row: PendingInvalidation, names: Iterable[str], *, using: str) -> None:
    """Forget all of a row but what it asks of some jobs."""
    _rows(using).filter(pk=row.pk).update(jobs={name: row.jobs[name] for name in names})


def aliases() -> list[str]:
    """Return the databases that keep invalidations."""
    return [alias for alias in connections if _has_table(alias)]


def backlog() -> Backlog:
    """Return how many invalidations wait on all databases, and since when; one query each."""
    count, oldest = 0, None
    for alias in aliases():
        found = _rows(alias).aggregate(count=Count("pk"), oldest=Min("recorded_at"))
        count += found["count"]
        if found["oldest"] and (oldest is None or found["oldest"] < oldest):
            oldest = found["oldest"]
    return Backlog(count=count, oldest=oldest)


def by_job() -> Counter[str]:
    """Return how many invalidations wait for each job, of the `COUNTED_BY_JOB` oldest on each database."""
    counted: Counter[str] = Counter()
    for alias in aliases():
        for jobs in _rows(alias).order_by("pk").values_list("jobs", flat=True)[:COUNTED_BY_JOB]:
            counted.update(jobs.keys())
    return counted


def _rows(using: str) -> Any:
    return _model()._base_manager.using(using)


def _model() -> Any:
    # By name: models are not ready yet when `import warmer` brings this module.
    return apps.get_model("warmer", "PendingInvalidation")


_tables: set[str] = set()


def _has_table(using: str) -> bool:
    if using in _tables:
        return True
    if not router.allow_migrate_model(using, _model()):
        return False
    connection = connections[using]
    with connection.cursor() as cursor:
        found = _model()._meta.db_table in connection.introspection.table_names(cursor)
    if found:
        _tables.add(using)
    else:
        logger.warning(
            "Invalidations on %r are not kept: run 'manage.py migrate --database %s'", using, using
        )
    return found
