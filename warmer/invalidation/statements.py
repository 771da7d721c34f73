"""What a statement may change, and what only the database knows of an open transaction."""

from __future__ import annotations

import re
from typing import Any

from warmer.declarations.registry import jobs
from warmer.invalidation.records import READ_COMMITTED, TABLE
from warmer.invalidation.sources import sources

# A statement names its table near its beginning, or behind a long list of values near its end.
_LOOKED_AT = 2_000
_names: tuple[int, re.Pattern[str]] | None = None


def may_change(sql: Any) -> bool:
    """Return whether a statement names a table that a job depends on."""
    if isinstance(sql, bytes):
        sql = sql.decode(errors="replace")
    if not isinstance(sql, str):  # e.g. psycopg's composed statements
        return True
    if sql.startswith(("SELECT", "select")):
        return False
    if len(sql) > 2 * _LOOKED_AT:
        sql = sql[:_LOOKED_AT] + sql[-_LOOKED_AT:]
    sql = sql.lower().lstrip()
    return not sql.startswith("select") and _pattern().search(sql) is not None


def _pattern() -> re.Pattern[str]:
    global _names
    if _names is None or _names[0] != jobs.version:
        tables = sorted(sources().by_table, key=len, reverse=True)
        # Quotes in a name are doubled in SQL.
        names = "|".join(re.escape(table.lower().replace('"', '""')) for table in tables)
        _names = jobs.version, re.compile(names or "(?!)")
    return _names[1]


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


# -- questions to the database ------------------------------------------------------------------------
def ask_postgresql(connection: Any) -> tuple[set[str], bool]:
    """Return the sources and keys that the open transaction recorded, and whether it reads a snapshot."""
    with connection.cursor() as cursor:
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


def ask_other(connection: Any, above: int) -> tuple[set[str], bool]:
    """Return the same on a database without transaction numbers: what is recorded above a number."""
    # Only one transaction writes at a time. An unapplied record of an earlier one costs a load.
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT source || key FROM {TABLE} WHERE applied_at IS NULL AND id > %s",
            [above],
        )
        changed = {row[0] for row in cursor}
    return changed, is_snapshot(connection)


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
