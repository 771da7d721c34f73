"""The records of changes on one database: written, read, marked as applied, purged."""

from __future__ import annotations

import logging
import math
import time
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
from django.db.models import BinaryField, Count, F, Min, Q
from django.db.models.functions import Cast, Now
from django.utils import timezone

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.invalidation.sources import sources

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
        recorded_at: when it was recorded. None: that was not asked for.
    """

    id: int = 0
    source: str = ""
    key: str = ""
    rows: str | None = None
    recorded_at: datetime | None = None

    @classmethod
    def of(
        cls, id: int, source: str, key: str, rows: str | bytes | None, recorded_at: datetime | None = None
    ) -> Record:
        """Return a record of its columns."""
        text = rows if rows is None or isinstance(rows, str) else bytes(rows).decode(errors="replace")
        return cls(id=id, source=source, key=key, rows=text, recorded_at=recorded_at)

    @property
    def age(self) -> timedelta:
        """How long ago it was recorded, as far as that was asked for."""
        ago = timezone.now() - self.recorded_at if self.recorded_at else timedelta(0)
        return max(ago, timedelta(0))


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The changes that wait on all databases."""

    count: int = 0
    oldest: datetime | None = None

    @property
    def age(self) -> timedelta:
        """How long the oldest has been waiting."""
        return timezone.now() - self.oldest if self.oldest else timedelta(0)


_ASK_AGAIN_SECONDS = 10.0
# By database: whether it keeps records, and when to ask again.
_tables: dict[str, tuple[bool, float]] = {}


def are_kept(using: str) -> bool:
    """Return whether a database has the table of records, and is no replica."""
    known = _tables.get(using)
    if known is None or time.monotonic() >= known[1]:
        found = router.allow_migrate_model(using, _model()) and _has_table(connections[using])
        ask_again = math.inf if found else time.monotonic() + _ASK_AGAIN_SECONDS
        known = _tables[using] = found, ask_again
    return known[0]


def _has_table(connection: Any) -> bool:
    with connection.cursor() as cursor:
        if TABLE not in connection.introspection.table_names(cursor):
            return False
        if connection.vendor != "postgresql":
            return True
        cursor.execute(
            "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'"
        )
        return not cursor.fetchone()[0]


def forget_tables() -> None:
    """Ask again which databases have the table, as after a migration."""
    _tables.clear()


def write(records: Sequence[Record], *, using: str) -> None:
    """Write records, inside the transaction of their change if there is one.

    Raises:
        Error: the database refuses them; a transaction cannot go on then.
    """
    model = _model()
    _rows(using).bulk_create([model(source=each.source, key=each.key, rows=each.rows) for each in records])


def unapplied(*, using: str, above: int, fingerprint: str, upto: int | None = None) -> list[Record]:
    """Return the oldest changes that nobody with a fingerprint has applied, at most `PAGE`.

    Args:
        above: only those with a higher number.
        fingerprint: whoever has another one cannot have invalidated all that this process keeps.
        upto: only those with this number or a lower one.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    # SQLite takes any bytes for text, and its driver then refuses to read them.
    rows = f"CAST({quote('rows')} AS BLOB)" if connection.vendor == "sqlite" else quote("rows")
    limit = "" if upto is None else f" AND id <= {upto:d}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, source, {quote('key')}, {rows} FROM {TABLE} "
            f"WHERE (applied_at IS NULL OR applied_by <> '{fingerprint}') AND id > {above:d}{limit} "
            f"ORDER BY id LIMIT {PAGE}"
        )
        return [Record.of(*row) for row in cursor]


def waiting(*, using: str, above: int) -> list[Record]:
    """Return what a worker has to apply, at most `PAGE`: unapplied changes whose jobs are declared here."""
    return _read(Q(applied_at=None), using=using, above=above)


def applied_elsewhere(*, using: str, above: int, fingerprint: str) -> list[Record]:
    """Return the changes that processes with another fingerprint applied within `WARMER_REPLAY`."""
    return _read(Q(applied_at__isnull=False) & ~Q(applied_by=fingerprint), using=using, above=above)


def _read(condition: Q, *, using: str, above: int) -> list[Record]:
    rows = Cast("rows", BinaryField()) if connections[using].vendor == "sqlite" else F("rows")
    found = _rows(using).filter(condition, _is_declared(), pk__gt=above).order_by("pk")
    return [Record.of(*row) for row in found.values_list("pk", "source", "key", rows, "recorded_at")[:PAGE]]


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
    now, quickly = "UTC_TIMESTAMP(6)", ""
    if connection.vendor == "sqlite":
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    elif connection.vendor == "postgresql":
        now = "clock_timestamp()"
        due = f"id = ANY(ARRAY(SELECT id FROM {TABLE} WHERE {due} ORDER BY id FOR UPDATE SKIP LOCKED))"
        # A mark that is lost costs one more application, so nobody waits for the disk.
        quickly = "SET LOCAL synchronous_commit = off; "
    with read_committed(using), connection.cursor() as cursor:
        cursor.execute(
            f"{quickly}UPDATE {TABLE} SET applied_at = {now}, applied_by = '{fingerprint}' WHERE {due}"
        )


def count_failure(numbers: Collection[int], *, using: str) -> None:
    """Count that a worker could not apply records."""
    with read_committed(using):
        _rows(using).filter(pk__in=numbers).update(attempts=F("attempts") + 1)


def purge(*, using: str, thoroughly: bool = False) -> None:
    """Delete changes that were applied before the last `WARMER_REPLAY`, at most `PAGE`.

    Args:
        thoroughly: all of them, and those that have waited for a day for a process that knows their jobs.
    """
    conditions = [Q(applied_at__lt=Now() - conf.REPLAY)]
    if thoroughly:
        conditions.append(Q(applied_at=None, recorded_at__lt=Now() - ROLL_OUT) & ~_is_declared())
    skip_locked = connections[using].features.has_select_for_update_skip_locked
    for condition in conditions:
        rows = _rows(using).filter(condition).order_by("pk")
        if skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        is_full = True
        while is_full:
            with read_committed(using, transaction_wanted=skip_locked):
                numbers = list(rows.values_list("pk", flat=True)[:PAGE])
                _rows(using).filter(pk__in=numbers)._raw_delete(using)
            is_full = thoroughly and len(numbers) == PAGE


def collapse(*, using: str) -> bool:
    """Make one record for every key of those sources of which more than `WARMER_FENCE_RECORDS` wait.

    Returns:
        Whether there was such a source.
    """
    rows = _rows(using).filter(applied_at=None).order_by()
    counts = list(rows.values_list("source", "key").annotate(n=Count("pk")).filter(n__gt=conf.FENCE_RECORDS))
    for source, key, _count in counts:
        with read_committed(using, transaction_wanted=True):
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
def read_committed(using: str, *, transaction_wanted: bool = False) -> Iterator[None]:
    """Read and mark in READ COMMITTED, where the session's default is another isolation level.

    A serializable read of ours could make a transaction of the project fail.
    """
    connection = connections[using]
    if connection.in_atomic_block or not (transaction_wanted or _is_stricter(connection)):
        yield
        return
    with transaction.atomic(using=using):
        if connection.vendor == "postgresql":
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


def _is_declared() -> Q:
    return Q(source__in=list(sources().by_name)) | Q(key__in=[str(spec.key) for spec in jobs.specs()])


def _rows(using: str) -> Any:
    return _model()._base_manager.using(using)


@cache
def _model() -> Any:
    # By name: models are not ready yet when `import warmer` brings this module.
    return apps.get_model("warmer", "ChangeRecord")
