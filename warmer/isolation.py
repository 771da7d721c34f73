"""Whether this thread reads the database as it was at an earlier moment.

A fill takes its token before it reads. Inside a transaction with a snapshot that order says nothing: the
snapshot may be older than the token, and what it shows may have been changed and invalidated since.
"""

from __future__ import annotations

from typing import Any

from django.db import connections

# Every statement sees what is committed by then.
READ_COMMITTED = {"read committed", "read uncommitted", "read-committed", "read-uncommitted"}


def reads_a_snapshot() -> bool:
    """Say whether a transaction is open, on any database, whose reads may be older than now.

    Costs a query in a transaction, none outside of one.
    """
    return any(
        connection.in_atomic_block and _is_snapshot(connection)
        for connection in connections.all(initialized_only=True)
    )


def _is_snapshot(connection: Any) -> bool:
    if connection.vendor == "postgresql":
        return _ask(connection, "SHOW transaction_isolation") not in READ_COMMITTED
    if connection.vendor == "mysql":
        return _ask(connection, "SELECT @@transaction_isolation").lower() not in READ_COMMITTED
    if connection.vendor == "sqlite":
        # A transaction that began with the write lock has the newest state, and nobody else commits
        # until its end. Without a write-ahead log nobody commits while it reads, either.
        if connection.transaction_mode in ("IMMEDIATE", "EXCLUSIVE"):
            return False
        return _ask(connection, "PRAGMA journal_mode") == "wal"
    # Oracle's default is a snapshot per statement; of any other database we do not know.
    return bool(connection.vendor != "oracle")


def _ask(connection: Any, question: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])
