"""The records of changes on one database: written, read, marked as applied, purged."""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.apps import apps
from django.db import connections, router, transaction
from django.db.models import Count, F, Min, Q
from django.utils import timezone

from warmer.conf import conf
from warmer.invalidation.sources import sources
from warmer.registry import jobs

logger = logging.getLogger(__name__)

TABLE = "warmer_changerecord"
READ_COMMITTED = ("read committed", "read uncommitted")
PAGE = 1_000
"""How many records are read, applied and marked at a time."""

ROLL_OUT = timedelta(days=1)
"""How long a change waits for a process that knows its job, as while a release is rolled out."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A change, as it is recorded.

    Attributes:
        id: its number. 0: it is not in the database.
        source: the table that changed (see `sources.Source.name`), or else
        key: the key of the job that was asked to invalidate, as declared.
        rows: the changed rows, or the ids that were asked for, as JSON. None: every key.
    """

    id: int = 0
    source: str = ""
    key: str = ""
    rows: str | None = None


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The changes that wait on all databases."""

    count: int = 0
    oldest: datetime | None = None

    @property
    def age(self) -> timedelta:
        """How long the oldest has been waiting."""
        return timezone.now() - self.oldest if self.oldest else timedelta(0)


_tables: set[str] = set()


def are_kept(using: str) -> bool:
    """Return whether a database has the table of records."""
    if using in _tables:
        return True
    if not router.allow_migrate_model(using, _model()):
        return False
    connection = connections[using]
    with connection.cursor() as cursor:
        if TABLE in connection.introspection.table_names(cursor):
            _tables.add(using)
    return using in _tables


def forget_tables() -> None:
    """Ask again which databases have the table, as after a migration."""
    _tables.clear()


def write(records: Sequence[Record], *, using: str) -> None:
    """Write records, inside the transaction of their change if there is one.

    Raises:
        Error: the database refuses them; a transaction cannot go on then.
    """
    with connections[using].cursor() as cursor:
        for each in records:
            cursor.execute(
                f"INSERT INTO {TABLE} (source, key, rows) VALUES (%s, %s, %s)",
                [each.source, each.key, each.rows],
            )


def unapplied(*, using: str, above: int, fingerprint: str, upto: int | None = None) -> list[Record]:
    """Return the oldest changes that nobody with a fingerprint has applied, at most `PAGE`.

    Args:
        above: only those with a higher number.
        fingerprint: whoever has another one cannot have invalidated all that this process keeps.
        upto: only those with this number or a lower one.
    """
    limit = "" if upto is None else f" AND id <= {upto:d}"
    return _select(
        using, f"(applied_at IS NULL OR applied_by <> %s) AND id > %s{limit}", [fingerprint, above]
    )


def waiting(*, using: str, above: int) -> list[Record]:
    """Return what a worker has to apply, at most `PAGE`: unapplied changes whose jobs are declared here."""
    return _select(using, f"applied_at IS NULL AND id > %s AND {_is_known()}", [above, *_known()])


def applied_elsewhere(*, using: str, above: int, fingerprint: str) -> list[Record]:
    """Return the changes that processes with another fingerprint applied within `WARMER_REPLAY`."""
    return _select(
        using,
        f"applied_at IS NOT NULL AND applied_by <> %s AND id > %s AND {_is_known()}",
        [fingerprint, above, *_known()],
    )


def highest(*, using: str) -> int:
    """Return the number of the newest record that can be seen; 0 without any."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT max(id) FROM {TABLE}")
        return int(cursor.fetchone()[0] or 0)


def mark(numbers: Collection[int], *, using: str, fingerprint: str) -> None:
    """Mark records as applied. Those that another process is marking just now are left to it."""
    if not numbers:
        return
    connection = connections[using]
    due = f"id IN ({', '.join(f'{number:d}' for number in numbers)}) AND applied_at IS NULL"
    now, quickly = "CURRENT_TIMESTAMP(6)", ""
    if connection.vendor == "sqlite":
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    elif connection.vendor == "postgresql":
        now = "clock_timestamp()"
        due = f"id = ANY(ARRAY(SELECT id FROM {TABLE} WHERE {due} ORDER BY id FOR UPDATE SKIP LOCKED))"
        # A mark that is lost costs one more application, so nobody waits for the disk.
        quickly = "SET LOCAL synchronous_commit = off; "
    with connection.cursor() as cursor:
        cursor.execute(
            f"{quickly}UPDATE {TABLE} SET applied_at = {now}, applied_by = '{fingerprint}' WHERE {due}"
        )


def age(record: Record, *, using: str) -> timedelta:
    """Return how long ago a change was recorded."""
    at = _rows(using).filter(pk=record.id).values_list("recorded_at", flat=True).first()
    return max(timezone.now() - at, timedelta(0)) if at else timedelta(0)


def count_failure(*, using: str) -> None:
    """Count that a worker could not apply what waits."""
    _rows(using).filter(applied_at=None).update(attempts=F("attempts") + 1)


def purge(*, using: str) -> None:
    """Delete records that are not needed any more, at most `PAGE` at a time.

    Those are: changes that were applied before the last `WARMER_REPLAY`, and changes of jobs that nobody
    here knows and that have waited for a day.
    """
    now = timezone.now()
    done = Q(applied_at__lt=now - conf.REPLAY)
    unknown = Q(applied_at=None, recorded_at__lt=now - ROLL_OUT) & ~_is_declared()
    for old in (done, unknown):
        rows = _rows(using).filter(old).order_by("pk")
        if connections[using].features.has_select_for_update_skip_locked:
            with transaction.atomic(using=using):
                numbers = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:PAGE])
                _rows(using).filter(pk__in=numbers)._raw_delete(using)
        else:
            _rows(using).filter(pk__in=list(rows.values_list("pk", flat=True)[:PAGE]))._raw_delete(using)


def collapse(*, using: str) -> bool:
    """Make one record for every key of those sources of which more than `WARMER_FENCE_RECORDS` wait.

    Returns:
        Whether there was such a source.
    """
    rows = _rows(using).filter(applied_at=None).order_by()
    counts = list(rows.values_list("source", "key").annotate(n=Count("pk")).filter(n__gt=conf.FENCE_RECORDS))
    for source, key, _count in counts:
        with transaction.atomic(using=using):
            last = highest(using=using)
            write([Record(source=source, key=key)], using=using)
            rows.filter(source=source, key=key, pk__lte=last)._raw_delete(using)
    return bool(counts)


def aliases() -> list[str]:
    """Return the databases that keep records."""
    return [alias for alias in connections if are_kept(alias)]


def backlog() -> Backlog:
    """Return how many changes wait on all databases, and since when; one query each."""
    count, oldest = 0, None
    for alias in aliases():
        rows = _rows(alias).filter(_is_declared(), applied_at=None)
        found = rows.aggregate(count=Count("pk"), oldest=Min("recorded_at"))
        count += found["count"]
        if found["oldest"] and (oldest is None or found["oldest"] < oldest):
            oldest = found["oldest"]
    return Backlog(count=count, oldest=oldest)


def by_job() -> Counter[str]:
    """Return how many changes wait for each job; one query for each database."""
    counted: Counter[str] = Counter()
    keys = {str(spec.key): spec.name for spec in jobs.specs()}
    for alias in aliases():
        rows = _rows(alias).filter(_is_declared(), applied_at=None).order_by()
        for source, key, count in rows.values_list("source", "key").annotate(Count("pk")):
            if key:
                counted[keys[key]] += count
                continue
            for spec in sources().by_name[source].specs:
                counted[spec.name] += count
    return counted


@contextmanager
def read_committed(using: str) -> Iterator[None]:
    """Read and mark in READ COMMITTED, where the session's default is another isolation level.

    A serializable read of ours could make a transaction of the project fail.
    """
    connection = connections[using]
    if connection.in_atomic_block or not _is_stricter(connection):
        yield
        return
    with transaction.atomic(using=using):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield


# By connection: the connection to the server, and whether its default is stricter.
_stricter: weakref.WeakKeyDictionary[Any, tuple[Any, bool]] = weakref.WeakKeyDictionary()


def _is_stricter(connection: Any) -> bool:
    if connection.vendor != "postgresql":
        return False
    known = _stricter.get(connection)
    if known is None or known[0] is not connection.connection:
        with connection.cursor() as cursor:
            cursor.execute("SHOW default_transaction_isolation")
            level = cursor.fetchone()[0]
        known = _stricter[connection] = connection.connection, level not in READ_COMMITTED
    return known[1]


def _select(using: str, condition: str, parameters: Sequence[Any]) -> list[Record]:
    # SQLite takes any bytes for text, and its driver then refuses to read them.
    rows = "CAST(rows AS BLOB)" if connections[using].vendor == "sqlite" else "rows"
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT id, source, key, {rows} FROM {TABLE} WHERE {condition} ORDER BY id LIMIT {PAGE}",
            parameters,
        )
        return [Record(id=id, source=source, key=key, rows=_text(rows)) for id, source, key, rows in cursor]


def _text(rows: str | bytes | None) -> str | None:
    return rows.decode(errors="replace") if isinstance(rows, bytes) else rows


def _known() -> list[str]:
    return [*sources().by_name, *(str(spec.key) for spec in jobs.specs())]


def _is_known() -> str:
    tables = ", ".join(["%s"] * len(sources().by_name)) or "NULL"
    keys = ", ".join(["%s"] * len(jobs)) or "NULL"
    return f"(source IN ({tables}) OR key IN ({keys}))"


def _is_declared() -> Q:
    return Q(source__in=list(sources().by_name)) | Q(key__in=[str(spec.key) for spec in jobs.specs()])


def _rows(using: str) -> Any:
    return _model()._base_manager.using(using)


@cache
def _model() -> Any:
    # By name: models are not ready yet when `import warmer` brings this module.
    return apps.get_model("warmer", "ChangeRecord")
