"""The records of changes on one database: written, read, marked as applied, purged.

A record says who applied it. A process with another fingerprint, such as an old release, a second service or
a shell with another cache, cannot have invalidated what this one keeps, so it applies the record once more.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from itertools import chain
from types import CodeType
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.models import Count, F, Min, Q
from django.db.models.functions import Now

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.invalidation.databases import TABLE, read_committed, visit
from warmer.invalidation.sources import sources
from warmer.stores import place_of

PAGE = 1_000
"""How many records are read, applied and marked at a time."""

ROLL_OUT = timedelta(days=1)
"""How long a change waits for a process that knows its job, as while a release is rolled out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A change, as it is recorded.

    Attributes:
        id: its number. 0: it is not in the database.
        source: the name of the table that changed (see `sources.Source.name`), or else
        key: the key of the job that was asked to invalidate, as declared.
        rows: the changed rows, or the ids that were asked for, as JSON. None: every key.
        is_applied: whether a process has applied it.
    """

    id: int = 0
    source: str = ""
    key: str = ""
    rows: str | None = None
    is_applied: bool = False


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The changes of declared jobs that wait on all databases.

    Attributes:
        age: how long the oldest has been waiting.
        by_job: how many concern each job, by its name.
        answered: the databases that were asked.
        unanswered: the databases that do not answer, so that what waits there is unknown; with the reasons.
    """

    count: int = 0
    age: timedelta = timedelta(0)
    by_job: Counter[str] = field(default_factory=Counter)
    answered: Collection[str] = ()
    unanswered: Mapping[str, str] = field(default_factory=dict)


# -- writing and reading -----------------------------------------------------------------------------
def write(records: Sequence[Record], *, using: str) -> None:
    """Write records, inside the transaction of their change if there is one.

    Raises:
        Error: the database refuses them; a transaction cannot go on then.
    """
    rows = _rows(using)
    rows.bulk_create([rows.model(source=each.source, key=each.key, rows=each.rows) for each in records])


def read(*, using: str, above: int, upto: int | None = None, again: bool = False) -> list[Record]:
    """Return the oldest changes of declared jobs that no process with our fingerprint has applied.

    At most `PAGE`. Others are for a process that knows their jobs.

    Args:
        above: only those with a higher number.
        upto: only those with this number or a lower one.
        again: also those that a process with our fingerprint has applied.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    # SQLite takes any bytes for text, and its driver then refuses to read them.
    rows = f"CAST({quote('rows')} AS BLOB)" if connection.vendor == "sqlite" else quote("rows")
    names, keys = list(sources().by_name), list(sources().by_key)
    where = f"id > {above:d} "
    if not again:
        where += f"AND (applied_at IS NULL OR applied_by <> '{fingerprint()}') "
    if upto is not None:
        where += f"AND id <= {upto:d} "
    where += f"AND (source IN ({_places(names)}) OR {quote('key')} IN ({_places(keys)}))"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, source, {quote('key')}, {rows}, applied_at IS NOT NULL FROM {TABLE} "
            f"WHERE {where} ORDER BY id LIMIT {PAGE}",
            [*names, *keys],
        )
        return [_record(*row) for row in cursor]


def _record(id: int, source: str, key: str, rows: Any, is_applied: Any) -> Record:
    text = rows if rows is None or isinstance(rows, str) else bytes(rows).decode(errors="replace")
    return Record(id=id, source=source, key=key, rows=text, is_applied=bool(is_applied))


def _places(values: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(values)) or "NULL"


def highest(*, using: str) -> int:
    """Return the number of the newest record that can be seen; 0 without any."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT max(id) FROM {TABLE}")
        return int(cursor.fetchone()[0] or 0)


def age_of(record: Record, *, using: str) -> timedelta:
    """Return how long ago a record was written; no time if it has gone."""
    with read_committed(using):
        # By the database's clock: where USE_TZ is off, its times are not ours.
        age = _rows(using).filter(pk=record.id).values_list(Now() - F("recorded_at"), flat=True).first()
    return max(age, timedelta(0)) if age else timedelta(0)


def mark(numbers: Collection[int], *, using: str) -> None:
    """Mark records as applied, except those that another process is marking."""
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
        # A lost mark costs one more application, so there is no need to wait for the disk.
        quickly = "SET LOCAL synchronous_commit = off; "
    with read_committed(using), connection.cursor() as cursor:
        cursor.execute(
            f"{quickly}UPDATE {TABLE} SET applied_at = {now}, applied_by = '{fingerprint()}' WHERE {due}"
        )


# -- keeping them few --------------------------------------------------------------------------------
_next_purge: dict[str, float] = {}


def purge_if_due(using: str, *, thoroughly: bool = False) -> None:
    """Delete old records, a few times within `WARMER_REPLAY`; a worker does so thoroughly."""
    if is_purge_due(using):
        _next_purge[using] = time.monotonic() + conf.REPLAY.total_seconds() / 4
        purge(using=using, thoroughly=thoroughly)


def is_purge_due(using: str) -> bool:
    """Return whether this process has not purged a database for a while."""
    return time.monotonic() >= _next_purge.get(using, 0.0)


def purge(*, using: str, thoroughly: bool = False) -> None:
    """Delete changes that were applied before the last `WARMER_REPLAY`, at most `PAGE`.

    Args:
        thoroughly: all of them, and those that have waited for a day for a process that knows their jobs.
    """
    due = Q(applied_at__lt=Now() - conf.REPLAY)
    if thoroughly:
        due |= Q(applied_at=None, recorded_at__lt=Now() - ROLL_OUT) & ~_is_declared()
    locks = connections[using].features.has_select_for_update_skip_locked
    is_full = True
    while is_full:
        with read_committed(using, transaction_wanted=locks):
            rows = _rows(using).filter(due).order_by("pk")
            if locks:
                rows = rows.select_for_update(skip_locked=True)
            numbers = list(rows.values_list("pk", flat=True)[:PAGE])
            _rows(using).filter(pk__in=numbers).delete()
        is_full = thoroughly and len(numbers) == PAGE


def collapse(*, using: str) -> bool:
    """Replace the records of a source by one for every key, if more than `WARMER_FENCE_RECORDS` wait.

    Returns:
        Whether there was such a source.
    """
    rows = _rows(using).filter(applied_at=None).order_by()
    counts = list(rows.values_list("source", "key").annotate(n=Count("pk")).filter(n__gt=conf.FENCE_RECORDS))
    for source, key, _count in counts:
        with read_committed(using, transaction_wanted=True):
            last = highest(using=using)
            write([Record(source=source, key=key)], using=using)
            rows.filter(source=source, key=key, pk__lte=last).delete()
    return bool(counts)


def backlog(*using: str) -> Backlog:
    """Return the changes that wait; one query for each database.

    Args:
        using: the databases; default: all.
    """
    count, age, by_job = 0, timedelta(0), Counter[str]()
    found, unanswered = visit(_waiting, using)
    for source, key, number, waited in chain.from_iterable(found.values()):
        count += number
        age = max(age, waited)
        specs = sources().by_key[key] if key else [each.spec for each in sources().by_name[source].dependents]
        for name in {spec.name for spec in specs}:
            by_job[name] += number
    return Backlog(count=count, age=age, by_job=by_job, answered=list(found), unanswered=unanswered)


def _waiting(using: str) -> list[tuple[str, str, int, timedelta]]:
    rows = _rows(using).filter(_is_declared(), applied_at=None).order_by()
    return list(rows.values_list("source", "key").annotate(n=Count("pk"), age=Now() - Min("recorded_at")))


def _is_declared() -> Q:
    return Q(source__in=list(sources().by_name)) | Q(key__in=list(sources().by_key))


def _rows(using: str) -> Any:
    # By name: models are not ready yet when `import warmer` brings this module.
    return apps.get_model("warmer", "ChangeRecord")._base_manager.using(using)


# -- who applied a record ----------------------------------------------------------------------------
def fingerprint() -> str:
    """Return the fingerprint of this process: 16 hexadecimal digits."""
    return _make(jobs.version, id(settings.CACHES))


def _function(function: Any) -> str:
    """Return a text that differs for functions that do something else, also where both are lambdas."""
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{type(function).__module__}.{type(function).__qualname__}"
    return f"{function.__qualname__} {_constant(code)}"


def _constant(value: Any) -> str:
    """Return a constant of a function, or its code, as a text that is the same in every process."""
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {_constant(value.co_consts)}"
    if isinstance(value, tuple | frozenset):
        parts = [_constant(each) for each in value]
        return str(parts if isinstance(value, tuple) else sorted(parts))
    return repr(value)


@lru_cache(maxsize=1)
def _make(_version: int, _caches: int) -> str:
    parts = [f"{spec.key} {place_of(spec.cache)}" for spec in jobs.specs()]
    for name, source in sources().by_name.items():
        for each in source.dependents:
            function = _function(each.function) if each.function else ""
            columns = ",".join(field.column for field in each.fields)
            parts.append(f"{name} {each.spec.key} {columns} {each.path} {function}")
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
