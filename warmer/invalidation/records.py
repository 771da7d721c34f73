"""Records of changes: which databases keep them, and how they are written, read and marked as applied.

A record names the fingerprint of the process that applied it. A process with another fingerprint, such as an
old release, a second service or a shell with another cache, may not have invalidated our keys, so we apply it
again.
"""

import hashlib
import inspect
import math
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, TypeVar

from django.apps import apps
from django.conf import settings
from django.db import Error, connections, router, transaction

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.exceptions import StoreUnavailable
from warmer.invalidation.sources import sources
from warmer.stores import place_of

T = TypeVar("T")

TABLE = "warmer_changerecord"
PAGE = 1_000
"""How many records a relay reads, applies and marks at a time."""
READ_COMMITTED = ("read committed", "read uncommitted")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A change of a table (`source`, see `sources.Source.name`), or a request to invalidate a job (`key`).

    Attributes:
        id: the id of its row; 0: it is not in the database.
        rows: the changed rows, or the requested ids, as JSON. None: every key.
        is_applied: whether a process has applied it.
    """

    id: int = 0
    source: str = ""
    key: str = ""
    rows: str | None = None
    is_applied: bool = False


# -- databases ------------------------------------------------------------------------------------------
# Whether the database is read-only: a replica, or a role without write privileges.
_IS_READ_ONLY = {
    "mysql": "SELECT @@read_only",
    "postgresql": "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' "
    f"OR NOT has_table_privilege('{TABLE}', 'INSERT, UPDATE')",
}
_ASK_AGAIN_SECONDS = 10.0
# By database: whether it keeps records, and when to check again.
_tables: dict[str, tuple[bool, float]] = {}


def captures_by_triggers() -> bool:
    """Return whether the project captures changes by database triggers."""
    return bool(conf.CAPTURE == "triggers")


def is_dummy(using: str) -> bool:
    """Return whether a database is `{}` in the settings, which `default` may be."""
    return bool(connections[using].settings_dict["ENGINE"] == "django.db.backends.dummy")


def written() -> list[str]:
    """Return the databases that a project writes to: neither an empty `default` nor mirrors of others."""
    return [
        alias
        for alias in connections
        if not (is_dummy(alias) or connections[alias].settings_dict["TEST"]["MIRROR"])
    ]


def are_kept(using: str) -> bool:
    """Return whether a database has the table of records and is not a replica.

    Raises:
        Error: the database does not answer.
    """
    known = _tables.get(using)
    if known is None or time.monotonic() >= known[1]:
        is_read_only = _IS_READ_ONLY.get(connections[using].vendor)
        found = (
            using in written()
            and router.allow_migrate_model(using, rows_of(using).model)
            and TABLE in connections[using].introspection.table_names()
            and not (is_read_only and ask_one(connections[using], is_read_only))
        )
        known = _tables[using] = found, math.inf if found else time.monotonic() + _ASK_AGAIN_SECONDS
    return known[0]


def forget_tables() -> None:
    """Check again which databases have the table, e.g. after a migration."""
    _tables.clear()


def visit(ask: Callable[[str], T], using: Iterable[str] = ()) -> tuple[dict[str, T], dict[str, Exception]]:
    """Call a function for each database that keeps records; an unresponsive one does not affect the others.

    Args:
        using: the databases; default: all.

    Returns:
        The results, and the errors of the databases, or caches, that do not answer.
    """
    found, unanswered = {}, dict[str, Exception]()
    for alias in using or written():
        try:
            if are_kept(alias):
                found[alias] = ask(alias)
        except (Error, StoreUnavailable) as error:
            unanswered[alias] = error
    return found, unanswered


def ask_one(connection: Any, question: str) -> Any:
    """Return the single value of a query."""
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


@contextmanager
def read_committed(using: str, *, transaction_wanted: bool = False) -> Iterator[None]:
    """Read and mark in READ COMMITTED, even if the session defaults to another isolation level.

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


# By connection to the server: whether its sessions default to a stricter level.
_stricter: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def _is_stricter(connection: Any) -> bool:
    if connection.vendor != "postgresql":
        return False
    connection.ensure_connection()
    if connection.connection not in _stricter:
        level = ask_one(connection, "SHOW default_transaction_isolation")
        _stricter[connection.connection] = level not in READ_COMMITTED
    return _stricter[connection.connection]


# -- writing, reading, marking --------------------------------------------------------------------------
def rows_of(using: str) -> Any:
    """Return the rows of a database."""
    # By name: models are not ready when `import warmer` imports this module.
    return apps.get_model("warmer", "ChangeRecord")._base_manager.using(using)


def write(records: Sequence[Record], *, using: str) -> None:
    """Write records, inside the transaction of their change if there is one.

    Raises:
        Error: the database rejects them; an open transaction cannot continue.
    """
    rows = rows_of(using)
    rows.bulk_create([rows.model(source=each.source, key=each.key, rows=each.rows) for each in records])


def read(*, using: str, above: int, again: bool = False) -> list[Record]:
    """Return changes of declared jobs that no process with our fingerprint has applied, oldest first.

    Changes of other jobs are left to a process that declares them.

    Args:
        above: only those with a higher id, at most `PAGE`.
        again: also those that a process with our fingerprint has applied.
    """
    quote = connections[using].ops.quote_name
    names, keys = list(sources().by_name), list(sources().by_key)
    places, key_places = (", ".join(["%s"] * len(values)) or "NULL" for values in (names, keys))
    declared = f"(source IN ({places}) OR {quote('key')} IN ({key_places}))"
    unapplied = "" if again else f"applied_by <> '{fingerprint()}' AND "
    return _read(using, above, f"{unapplied}{declared} ORDER BY id LIMIT {PAGE}", [*names, *keys])


def read_newest(*, using: str, above: int, at_most: int) -> list[Record]:
    """Return the newest changes that no process with our fingerprint has applied, oldest first.

    This includes those of jobs that are not declared: PostgreSQL needs less time to plan the query without
    the names of the declared ones.
    """
    which = f"applied_by <> '{fingerprint()}' ORDER BY id DESC LIMIT {at_most:d}"
    return _read(using, above, which)[::-1]


def _read(using: str, above: int, which: str, names: Sequence[str] | None = None) -> list[Record]:
    connection = connections[using]
    quote = connection.ops.quote_name
    # SQLite accepts any bytes as text, which its driver then refuses to read.
    rows = f"CAST({quote('rows')} AS BLOB)" if connection.vendor == "sqlite" else quote("rows")
    columns = f"id, source, {quote('key')}, {rows}, applied_at IS NOT NULL"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {TABLE} WHERE id > {above:d} AND {which}", names)
        return [
            Record(
                id=id,
                source=source,
                key=key,
                rows=text.decode(errors="replace") if isinstance(text, bytes) else text,
                is_applied=bool(is_applied),
            )
            for id, source, key, text, is_applied in cursor
        ]


def mark(numbers: Collection[int], *, using: str) -> None:
    """Mark records as applied, except those that another process is marking."""
    if not numbers:
        return
    connection = connections[using]
    # Not `applied_at IS NULL`: PostgreSQL could then read the whole index of pending records, in which a
    # snapshot that another session holds open keeps the applied ones.
    due = f"id IN ({', '.join(f'{number:d}' for number in numbers)}) AND applied_by = ''"
    now, quickly = "CURRENT_TIMESTAMP(6)", ""
    if connection.vendor == "sqlite":
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    elif connection.vendor == "postgresql":
        now = "clock_timestamp()"
        due = f"ctid = ANY(ARRAY(SELECT ctid FROM {TABLE} WHERE {due} FOR UPDATE SKIP LOCKED))"
        # A lost mark only means applying the record again, so there is no need to wait for the disk.
        quickly = "SET LOCAL synchronous_commit = off; "
    with read_committed(using), connection.cursor() as cursor:
        cursor.execute(
            f"{quickly}UPDATE {TABLE} SET applied_at = {now}, applied_by = '{fingerprint()}' WHERE {due}"
        )


# -- who applied a record -------------------------------------------------------------------------------
def fingerprint() -> str:
    """Return the fingerprint of this process: 16 hexadecimal digits."""
    return _make(jobs.version, id(settings.CACHES))


@lru_cache(maxsize=1)
def _make(_version: int, _caches: int) -> str:
    parts = [f"{spec.key} {place_of(spec.cache)}" for spec in jobs.specs()]
    for name, source in sources().by_name.items():
        for each in source.dependents:
            columns = ",".join(field.column for field in each.fields)
            parts.append(f"{name} {each.spec.key} {columns} {each.path} {_code_of(each.function)}")
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def _code_of(function: Any) -> str:
    """Return a string that differs between functions that do different things, even lambdas.

    Not based on the source, because a deploy may replace the file while the process runs.
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    # Of a `partial`, or behind a decorator.
    code = getattr(inspect.unwrap(getattr(function, "func", function)), "__code__", None)
    return f"{named.__module__}.{named.__qualname__} {_text_of(code)}"


def _text_of(constant: Any) -> str:
    """Return code, or a constant in it, as a string that is the same in every process."""
    if isinstance(constant, CodeType):  # also of a function in a function, such as a generator expression
        return f"{constant.co_code.hex()} {constant.co_names} {_text_of(constant.co_consts)}"
    if isinstance(constant, tuple | frozenset):
        texts = list(map(_text_of, constant))
        return str(sorted(texts) if isinstance(constant, frozenset) else texts)
    return repr(constant)
