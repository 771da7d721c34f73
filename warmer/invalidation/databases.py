"""What only the database knows: whether it keeps records, and what is open on a connection."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.apps import apps
from django.db import Error, connections, router, transaction

from warmer.conf import conf
from warmer.report import describe

TABLE = "warmer_changerecord"
T = TypeVar("T")
READ_COMMITTED = ("read committed", "read uncommitted")


def captures_by_triggers() -> bool:
    """Return whether the project captures changes by database triggers."""
    return bool(conf.CAPTURE == "triggers")


# Whether nothing can be written: a replica, or a role that may only read.
_IS_READ_ONLY = {
    "mysql": "SELECT @@read_only",
    "postgresql": "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on' "
    f"OR NOT has_table_privilege('{TABLE}', 'INSERT, UPDATE')",
}
_ASK_AGAIN_SECONDS = 10.0
# By database: whether it keeps records, and when to ask again.
_tables: dict[str, tuple[bool, float]] = {}


def written() -> list[str]:
    """Return the databases that a project writes to: not an empty `default`, nor the mirror of another."""
    return [
        alias
        for alias in connections
        if not (is_dummy(alias) or connections[alias].settings_dict["TEST"]["MIRROR"])
    ]


def is_dummy(using: str) -> bool:
    """Return whether a database is `{}` in the settings, as `default` may be."""
    return bool(connections[using].settings_dict["ENGINE"] == "django.db.backends.dummy")


def are_kept(using: str) -> bool:
    """Return whether a database has the table of records, and is no replica.

    Raises:
        Error: the database does not answer.
    """
    known = _tables.get(using)
    if known is None or time.monotonic() >= known[1]:
        model = apps.get_model("warmer", "ChangeRecord")
        is_ours = using in written() and router.allow_migrate_model(using, model)
        found = is_ours and _has_table(connections[using])
        ask_again = math.inf if found else time.monotonic() + _ASK_AGAIN_SECONDS
        known = _tables[using] = found, ask_again
    return known[0]


def _has_table(connection: Any) -> bool:
    with connection.cursor() as cursor:
        if TABLE not in connection.introspection.table_names(cursor):
            return False
        if connection.vendor not in _IS_READ_ONLY:
            return True
        cursor.execute(_IS_READ_ONLY[connection.vendor])
        return not cursor.fetchone()[0]


def forget_tables() -> None:
    """Ask again which databases have the table, as after a migration."""
    _tables.clear()


def visit(ask: Callable[[str], T], using: Iterable[str] = ()) -> tuple[dict[str, T], dict[str, str]]:
    """Call a function for each database that keeps records; one that does not answer stops no other.

    Args:
        using: the databases; default: all.

    Returns:
        The results, and why there is none of a database that does not answer.
    """
    found, unanswered = {}, {}
    for alias in using or written():
        try:
            if are_kept(alias):
                found[alias] = ask(alias)
        except Error as error:
            unanswered[alias] = describe(error)
    return found, unanswered


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


# By connection to the server: whether the default of its sessions is stricter.
_stricter: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def _is_stricter(connection: Any) -> bool:
    if connection.vendor != "postgresql":
        return False
    connection.ensure_connection()
    if connection.connection not in _stricter:
        level = _one(connection, "SHOW default_transaction_isolation")
        _stricter[connection.connection] = level not in READ_COMMITTED
    return _stricter[connection.connection]


# -- what is open ------------------------------------------------------------------------------------
def is_open(connection: Any) -> bool:
    """Return whether a statement or a transaction is not committed yet, in autocommit.

    Django does not know of psycopg's pipelines, and of what SQL begins. On SQLite a statement with RETURNING
    goes on until its cursor is closed, and meanwhile the database refuses a savepoint.
    """
    if connection.vendor == "sqlite":
        raw = connection.connection
        try:
            if not raw.in_transaction:
                raw.execute("SAVEPOINT warmer")
                raw.execute("RELEASE warmer")
        except connection.Database.OperationalError:
            return True
        return bool(raw.in_transaction)
    info = getattr(connection.connection, "info", None)
    if connection.vendor != "postgresql" or info is None:
        return False
    return bool(int(info.transaction_status) or int(getattr(info, "pipeline_status", 0)))


def ask(connection: Any, above: int) -> tuple[set[str], bool]:
    """Return the sources and keys that the open transaction recorded, and whether it reads a snapshot.

    Args:
        above: the highest record known before its first change, for a database that does not number its
            transactions. Only one of them writes at a time, and an unapplied record of an earlier one costs
            a load.
    """
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute(
                f"SELECT DISTINCT source || key FROM {TABLE} WHERE applied_at IS NULL AND id > {above:d}"
            )
            return {row[0] for row in cursor}, is_snapshot(connection)
        cursor.execute(
            # A look at the table in a stricter transaction could make it fail when others change rows.
            "SELECT current_setting('transaction_isolation'), "
            "CASE WHEN current_setting('transaction_isolation') LIKE 'read%' "
            "AND pg_current_xact_id_if_assigned() IS NOT NULL THEN "
            f"(SELECT array_agg(DISTINCT source || key) FROM {TABLE} WHERE applied_at IS NULL "
            "AND xact = pg_current_xact_id_if_assigned()::text::bigint) END"
        )
        isolation, changed = cursor.fetchone()
        return set(changed or ()), isolation not in READ_COMMITTED


def is_snapshot(connection: Any) -> bool:
    """Return whether the open transaction may read the database as it was at an earlier moment."""
    if connection.vendor == "postgresql":
        return _one(connection, "SHOW transaction_isolation") not in READ_COMMITTED
    if connection.vendor == "mysql":
        isolation = _one(connection, "SELECT @@transaction_isolation")
        return isolation.lower().replace("-", " ") not in READ_COMMITTED
    if connection.vendor == "sqlite":
        # A transaction that began with the write lock has the newest state, and nobody else commits
        # until its end. Without a write-ahead log nobody commits while it reads, either.
        if connection.transaction_mode in ("IMMEDIATE", "EXCLUSIVE"):
            return False
        return _one(connection, "PRAGMA journal_mode") == "wal"
    # Oracle's default is a snapshot per statement; of any other database we do not know.
    return bool(connection.vendor != "oracle")


def _one(connection: Any, question: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])
