"""What this process knows of its open transactions, and what it does when they commit.

Each database connection has a `Watcher`. With triggers it sees every statement: one that names a captured
table may have been recorded, so the records are read and applied after the commit. With signals the
receivers say what they recorded. Either way Django drops our callback with the savepoint that it was
registered in, so a rolled-back change asks for nothing.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, connections, router, transaction

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation import records
from warmer.invalidation.apply import apply_committed, floor
from warmer.invalidation.sources import sources
from warmer.invalidation.statements import ask_other, ask_postgresql, is_open, is_snapshot, may_change
from warmer.report import describe

logger = logging.getLogger(__name__)


def captures_by_triggers() -> bool:
    """Return whether the project captures changes by database triggers."""
    return bool(conf.CAPTURE == "triggers")


class Commit:
    """What happens after a commit. Django keeps it until then, and drops it with a rollback.

    Attributes:
        above: the highest record that this process knew before the change.
        is_due: whether records are to be read.
    """

    def __init__(self, watcher: Watcher, above: int, place: int) -> None:
        self._watcher = watcher
        self._place = place
        self.above = above
        self.is_due = True

    def is_kept_by(self, connection: Any) -> bool:
        """Return whether Django still keeps it. After a rollback something else may, such as a traceback."""
        kept = connection.run_on_commit  # of which a rollback removes the last ones
        return self._place < len(kept) and kept[self._place][1] is self

    def __call__(self) -> None:
        """Apply what was recorded, once for all of the transaction's callbacks."""
        if self.is_due:
            due = {self, *self._watcher.take_commits()}
            for each in due:
                each.is_due = False
            self._watcher.apply(above=min(each.above for each in due))


class Watcher:
    """One database connection: its open transaction, and with triggers each of its statements."""

    def __init__(self, connection: Any) -> None:
        self._connection: Any = weakref.ref(connection)  # whose watcher this is: it lives longer
        self.using: str = connection.alias
        self._commits: weakref.WeakValueDictionary[tuple[Any, ...], Commit] = weakref.WeakValueDictionary()
        self._statements = 0
        self._is_quiet = False
        self._late: int | None = None
        self._changed_sources: set[str] = set()
        self._lowest = 0
        self._answer: tuple[int, set[str], bool] | None = None

    # -- statements --------------------------------------------------------------------------------
    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Run a statement, as an execute wrapper; see whether it may have changed a captured table."""
        self._statements += 1
        if self._late is not None:
            self.apply_late()
        above = floor(self.using)
        result = execute(sql, params, many, context)
        try:
            if not self._is_quiet and may_change(sql):
                self._changed(above)
        except Exception as error:  # noqa: BLE001 - the project's statement has succeeded
            logger.warning("A change on %r waits for a worker: %s", self.using, describe(error))
        return result

    def _changed(self, above: int) -> None:
        """Apply what a statement changed at the commit; in autocommit now, if it is committed by now."""
        connection = self._connection()
        if connection.in_atomic_block:
            self.expect(above=above)
        elif connection.get_autocommit():  # else nothing tells of the commit, and a worker applies it
            self.apply(above=above)

    def apply_late(self) -> None:
        """Apply an earlier statement in autocommit that was not committed when it returned."""
        above, self._late = self._late, None
        if above is not None:
            self._changed(above)

    # -- commits -----------------------------------------------------------------------------------
    def expect(self, *, above: int | None = None, changed: Iterable[str] = ()) -> None:
        """Apply what is recorded in the open transaction, if there is one, at its commit. Costs no query.

        Args:
            above: the highest record known before the change; default: what is known now.
            changed: the sources, and keys of jobs, that it changed, as far as that is known.
        """
        connection = self._connection()
        if connection.in_atomic_block:
            self._forget_ended(connection)
            self._register(connection, floor(self.using) if above is None else above)
            self._changed_sources.update(changed)

    def _forget_ended(self, connection: Any) -> None:
        """Forget what an earlier transaction changed: with its end Django has no callbacks any more."""
        if not connection.run_on_commit:
            self.take_commits()

    def _register(self, connection: Any, above: int) -> None:
        """Register a callback under the open savepoints, unless one is registered that lives as long."""
        stack = tuple(connection.savepoint_ids)
        is_in_test_case = _is_in_test_case(connection)
        if is_in_test_case:
            above = 0  # it rolls back what was applied, and SQLite then uses the numbers again
        else:
            for depth in range(len(stack) + 1):
                known = self._commits.get(stack[:depth])
                if known is not None and known.is_kept_by(connection):
                    return
        self._lowest = min(self._lowest, above) if self._commits else above
        self._commits[stack] = commit = Commit(self, above, len(connection.run_on_commit))
        transaction.on_commit(commit, using=self.using, robust=True)

    def take_commits(self) -> list[Commit]:
        """Return the callbacks that Django keeps, and forget them: what comes now is not theirs."""
        commits = list(self._commits.values())
        self._commits.clear()
        self._changed_sources.clear()
        self._lowest = 0
        return commits

    def apply(self, *, above: int) -> None:
        """Apply the recorded changes above a number; never raises."""
        connection = self._connection()
        if not connection.in_atomic_block and is_open(connection):
            self._late = above if self._late is None else min(self._late, above)
        else:
            apply_committed(using=self.using, above=above)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Do not look for changes in the statements of a block, which are our own."""
        before, self._is_quiet = self._is_quiet, True
        try:
            yield
        finally:
            self._is_quiet = before

    # -- what the open transaction changed ------------------------------------------------------------
    def is_pending(self, spec: JobSpec, *, on_miss: bool) -> bool:
        """Return whether the open transaction changed something that a job reads.

        Args:
            on_miss: the database is asked, too, for what no statement told; on a hit it is asked only if a
                statement named a captured table.
        """
        self._forget_ended(self._connection())
        is_changed = bool(self._commits)
        if not is_changed and not on_miss:
            return False
        means = sources().names_of.get(spec, frozenset()) | {str(spec.key)}
        if not means.isdisjoint(self._changed_sources):
            return True
        if not captures_by_triggers():
            return False
        try:
            if not records.are_kept(self.using):
                return False
            changed, is_snapshot = self._ask()
        except Error:
            if on_miss:
                raise
            return False  # a transaction that failed can only be rolled back, to what is cached
        if means.isdisjoint(changed) and not (is_snapshot and is_changed):
            return False
        self.expect(changed=changed)
        return True

    def reads_a_snapshot(self) -> bool:
        """Return whether reads in the open transaction may be older than now."""
        connection = self._connection()
        if connection.vendor == "postgresql" and captures_by_triggers() and records.are_kept(self.using):
            return self._ask()[1]
        return is_snapshot(connection)

    def _ask(self) -> tuple[set[str], bool]:
        """Ask the database what the transaction changed, and whether it reads a snapshot.

        The answer holds until the next statement.
        """
        if self._answer is None or self._answer[0] != self._statements:
            connection = self._connection()
            if connection.vendor == "postgresql":
                changed, is_snapshot = ask_postgresql(connection)
            else:
                changed, is_snapshot = ask_other(connection, self._lowest)
            self._answer = (self._statements, changed, is_snapshot)
        return self._answer[1], self._answer[2]


_watchers: weakref.WeakKeyDictionary[Any, Watcher] = weakref.WeakKeyDictionary()


def watcher(using: str) -> Watcher:
    """Return the watcher of this thread's connection to a database."""
    connection = connections[using]
    found = _watchers.get(connection)
    if found is None:
        found = _watchers[connection] = Watcher(connection)
    return found


def on_connection(connection: Any, **_kwargs: Any) -> None:
    """`connection_created`: see the statements of a connection."""
    if not captures_by_triggers():
        return
    if connection.alias not in connections:
        return  # e.g. the one by which a test database is created
    found = watcher(connection.alias)
    if found not in connection.execute_wrappers:
        # At the front: `execute_wrapper()` takes the last one away at its end.
        connection.execute_wrappers.insert(0, found)


def is_pending(spec: JobSpec, *, on_miss: bool = True) -> bool:
    """Return whether an open transaction of this thread changed something that a job reads.

    Of a transaction that the project manages by hand nothing tells the end, so it counts as if it had.
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


def reads_a_snapshot() -> bool:
    """Return whether a transaction is open in this thread whose reads may be older than now.

    A fill takes its token before it reads. A snapshot may be older than the token, and what it shows may
    have been changed and invalidated since. Costs a query in a transaction, none outside of one.
    """
    return any(
        watcher(connection.alias).reads_a_snapshot()
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
    )


def open_database_of(spec: JobSpec) -> str | None:
    """Return the database with an open transaction that a job depends on; None without any."""
    models: list[Any] = [dependency.model for dependency in jobs.dependencies(spec)]
    aliases = dict.fromkeys([*map(router.db_for_write, models), DEFAULT_DB_ALIAS])
    return next((alias for alias in aliases if connections[alias].in_atomic_block), None)


def _is_in_test_case(connection: Any) -> bool:
    """Return whether a test case's transaction is open, which is never committed.

    A test runs the callbacks that were registered in a block of its own, so each block needs one. Django
    marks such a transaction in private only (`Atomic._from_testcase`, Django 3.2 to 6.0).
    """
    return bool(connection.atomic_blocks) and getattr(connection.atomic_blocks[0], "_from_testcase", False)
