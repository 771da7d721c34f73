"""Watch the open transactions of this process, and apply their changes after the commit.

Each database connection has a `Watcher`. With triggers, it sees every statement. If a statement names a
captured table, the watcher reads and applies the records after the commit. With signals, the receivers report
what they recorded. When a savepoint is rolled back, Django drops our callback together with the change.
"""

import logging
import re
import weakref
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from django.db import Error, connections, transaction

from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation.apply import apply_committed, floors
from warmer.invalidation.records import READ_COMMITTED, TABLE, are_kept, ask_one, captures_by_triggers
from warmer.invalidation.sources import sources
from warmer.invalidation.trigger_sql.definition import split_name
from warmer.report import describe

logger = logging.getLogger(__name__)

# A statement names its table near its beginning, or near its end after a long list of values.
_LOOKED_AT = 2_000


class Watcher:
    """Watches one database connection: its open transaction and, with triggers, its statements."""

    def __init__(self, connection: Any) -> None:
        self._connection: Any = weakref.ref(connection)  # whose watcher this is: it lives longer
        self.using: str = connection.alias
        self._callback: tuple[int, Callable[[], None]] | None = None
        self._due: int | None = None
        self._changed_sources: set[str] = set()
        self._late: int | None = None
        self._statements = 0
        self._answer: tuple[int, set[str], bool] | None = None

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Run a statement, as an execute wrapper, and apply it later if it may change a captured table."""
        self._statements += 1
        self.apply_late()
        above = floors[self.using]
        result = execute(sql, params, many, context)
        try:
            if may_change(sql):
                self.changed(above)
        except Exception as error:  # noqa: BLE001 - the project's statement has succeeded
            logger.warning("A change on %r waits for a worker: %s", self.using, describe(error))
        return result

    def changed(self, above: int) -> None:
        """Apply a change at the commit; in autocommit now, if it is committed."""
        connection = self._connection()
        if connection.in_atomic_block:
            self.expect(above=above)
        elif connection.get_autocommit():  # otherwise a worker applies it after the commit
            self._apply(above)

    def _apply(self, above: int) -> None:
        connection = self._connection()
        if not connection.in_atomic_block and _is_open(connection):
            self._late = above if self._late is None else self._late
        else:
            apply_committed(using=self.using, above=above)

    def apply_late(self) -> None:
        """Apply an earlier autocommit statement that was not yet committed when it returned."""
        above, self._late = self._late, None
        if above is not None:
            self.changed(above)

    # -- commits -----------------------------------------------------------------------------------
    def expect(self, *, above: int | None = None, changed: Iterable[str] = ()) -> None:
        """Apply the records of the open transaction, if there is one, at its commit. Costs no query.

        Args:
            above: the highest record id known before the change; default: the highest known now.
            changed: the sources, and the keys of jobs, that are known to have changed.
        """
        connection = self._connection()
        if not connection.in_atomic_block:
            return
        above = floors[self.using] if above is None else above
        if not self._has_changed() or _is_in_test_case(connection):
            self._callback = len(connection.run_on_commit), self._on_commit
            transaction.on_commit(self._callback[1], using=self.using, robust=True)
        # The lowest: an earlier callback of the project may write before ours is called.
        self._due = above if self._due is None else min(above, self._due)
        self._changed_sources.update(changed)

    def _has_changed(self) -> bool:
        """Return whether the open transaction has changes that were not rolled back.

        It has if Django still keeps our callback. Its savepoints are then open or released, so it outlives
        any later change. A rollback removes it from the end of `run_on_commit`, which is private (tried with
        Django 5.2 and 6.0); there is no public way to detect a rollback.
        """
        if self._callback is not None:
            (place, callback), kept = self._callback, self._connection().run_on_commit
            if place < len(kept) and kept[place][1] is callback:
                return True
        self._callback = None
        self._changed_sources.clear()
        return False

    def _on_commit(self) -> None:
        """Apply the recorded changes, once for all callbacks of the transaction."""
        above, self._due, self._callback = self._due, None, None
        if above is not None:
            self._apply(above)

    # -- what the open transaction changed ------------------------------------------------------------
    def is_pending(self, spec: JobSpec, *, on_miss: bool) -> bool:
        """Return whether a value read in the open transaction must not be cached (see `is_pending`)."""
        has_changed = self._has_changed()
        if not has_changed and not on_miss:
            return False
        means = sources().names_of.get(spec, set()) | {str(spec.key)}
        if not means.isdisjoint(self._changed_sources):
            return True
        if not captures_by_triggers() or not are_kept(self.using):
            return on_miss and _is_snapshot(self._connection())
        try:
            if self._answer is None or self._answer[0] != self._statements:
                changed, reads_snapshot = _ask(self._connection())
                self._answer = (self._statements, changed, reads_snapshot)  # this query is a statement, too
            _, changed, reads_snapshot = self._answer  # valid until the next statement
        except Error:
            if on_miss:
                raise
            return False  # a failed transaction can only be rolled back, so cached values are right
        if means.isdisjoint(changed):
            return reads_snapshot
        self.expect(changed=changed)
        return True


_watchers: weakref.WeakKeyDictionary[Any, Watcher] = weakref.WeakKeyDictionary()


def watcher(using: str) -> Watcher:
    """Return the watcher of this thread's connection to a database."""
    connection = connections[using]
    found = _watchers.get(connection)
    if found is None:
        found = _watchers[connection] = Watcher(connection)
    return found


def on_connection(connection: Any, **_kwargs: Any) -> None:
    """`connection_created`: watch the statements of a connection."""
    # The connection by which a test database is created has no alias of its own.
    if captures_by_triggers() and connection.alias in connections:
        found = watcher(connection.alias)
        if found not in connection.execute_wrappers:
            # At the front, because `execute_wrapper()` removes the last one at its end.
            connection.execute_wrappers.insert(0, found)


def on_saved(using: str, **_kwargs: Any) -> None:
    """`post_save`: apply an INSERT, which SQLite commits only once Django has read its result."""
    watcher(using).apply_late()


def is_pending(spec: JobSpec, *, on_miss: bool = True) -> bool:
    """Return whether values of a job loaded in an open transaction must not be cached.

    True if a transaction of this thread changed something that the job depends on, may read a snapshot older
    than the token of a fill, or is managed by hand, so that its end is unknown.

    Args:
        on_miss: also query the database for changes that no statement named, and for a snapshot. On a hit it
            is queried only if a statement named a captured table.
    """
    for connection in connections.all(initialized_only=True):
        known = _watchers.get(connection)
        if known is not None:
            known.apply_late()
        if connection.in_atomic_block:
            if watcher(connection.alias).is_pending(spec, on_miss=on_miss):
                return True
        elif connection.connection is not None and not connection.autocommit:
            return True
    return False


def _is_in_test_case(connection: Any) -> bool:
    """Return whether a `TestCase` transaction, which is never committed, is open.

    `captureOnCommitCallbacks` runs the callbacks that were registered in its block, so each block needs one.
    Django marks such transactions only in a private attribute (`Atomic._from_testcase`, tried with Django
    5.2 and 6.0).
    """
    return bool(connection.atomic_blocks) and getattr(connection.atomic_blocks[0], "_from_testcase", False)


# -- statements --------------------------------------------------------------------------------------
def may_change(sql: Any) -> bool:
    """Return whether a statement names a table that a job depends on."""
    if not isinstance(sql, str):  # bytes, or psycopg's composed statements
        return True
    sql = sql.lstrip()
    if sql[:6].lower() == "select" and ";" not in sql:  # which several statements have between them
        return False
    if len(sql) > 2 * _LOOKED_AT:
        sql = sql[:_LOOKED_AT] + sql[-_LOOKED_AT:]
    return _tables(jobs.version).search(sql.lower()) is not None


@lru_cache(maxsize=1)
def _tables(_version: int) -> re.Pattern[str]:
    """Return the pattern of the names of captured tables, without their schemas."""
    tables = sorted((split_name(table)[1] for table in sources().by_table), key=len, reverse=True)
    names = "|".join(re.escape(table.lower().replace('"', '""')) for table in tables)  # as quoted in SQL
    return re.compile(names or "(?!)")


# -- the database's view of a transaction ---------------------------------------------------------------
def _is_open(connection: Any) -> bool:
    """Return whether, in autocommit, a statement or a transaction is not committed yet.

    Django does not know about psycopg's pipelines and transactions started in SQL. SQLite rejects a savepoint
    until the cursor of a statement with RETURNING is closed.
    """
    raw = connection.connection
    if raw is None:  # closed, e.g. by an earlier `on_commit` callback
        return False
    if connection.vendor == "sqlite":
        try:
            if not raw.in_transaction:
                raw.execute("SAVEPOINT warmer")
                raw.execute("RELEASE warmer")
        except connection.Database.OperationalError:
            return True
        return bool(raw.in_transaction)
    info = getattr(raw, "info", None)
    if connection.vendor != "postgresql" or info is None:
        return False
    return bool(int(info.transaction_status) or int(getattr(info, "pipeline_status", 0)))


def _ask(connection: Any) -> tuple[set[str], bool]:
    """Return the sources and keys that the open transaction recorded, and whether it reads a snapshot.

    A database without transaction ids has one writer at a time, so nobody else applies its records. An
    unapplied record of an earlier transaction only costs a load.
    """
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute(f"SELECT DISTINCT source || key FROM {TABLE} WHERE applied_at IS NULL")
            return {row[0] for row in cursor}, _is_snapshot(connection)
        cursor.execute(
            # In a stricter transaction, reading the table could make it fail when others change rows.
            "SELECT current_setting('transaction_isolation'), "
            "CASE WHEN current_setting('transaction_isolation') LIKE 'read%' "
            "AND pg_current_xact_id_if_assigned() IS NOT NULL THEN "
            f"(SELECT array_agg(DISTINCT source || key) FROM {TABLE} WHERE applied_at IS NULL "
            "AND xact = pg_current_xact_id_if_assigned()::text::bigint) END"
        )
        isolation, changed = cursor.fetchone()
        return set(changed or ()), isolation not in READ_COMMITTED


def _is_snapshot(connection: Any) -> bool:
    """Return whether the open transaction may read an older snapshot of the database."""
    if connection.vendor == "postgresql":
        return ask_one(connection, "SHOW transaction_isolation") not in READ_COMMITTED
    if connection.vendor == "mysql":
        return connection.isolation_level not in READ_COMMITTED  # of the settings
    if connection.vendor == "sqlite":
        # A transaction that began with the write lock has the newest state, and nobody else can commit before
        # it ends. Without a write-ahead log, nobody can commit while it reads, either.
        if connection.transaction_mode in ("IMMEDIATE", "EXCLUSIVE"):
            return False
        return bool(ask_one(connection, "PRAGMA journal_mode") == "wal")
    return True  # of any other database we do not know
