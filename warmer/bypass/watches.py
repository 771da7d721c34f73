"""Watches: what one connection executes and commits is noted, and judged when it is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import connections

from warmer.bypass.actions import act
from warmer.bypass.endings import ending_block
from warmer.bypass.events import Write, root_of
from warmer.bypass.findings import Finding
from warmer.bypass.journal import Journal
from warmer.bypass.modes import Mode, mode
from warmer.bypass.origins import origin
from warmer.bypass.statements import as_text, parse
from warmer.bypass.tables import concerns_by_key
from warmer.invalidation import expect
from warmer.registry import jobs


class Watch:
    """Stands between one connection and its database."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.journal = Journal(connection)
        self._commit: Any = None

    def install(self) -> None:
        """Begin."""
        # First, not last: `connection.execute_wrapper()` takes away the last one at its end.
        self.connection.execute_wrappers.insert(0, self._execute)
        self._commit = self.connection.commit
        self.connection.commit = self._judge_and_commit
        self.connection._warmer_watch = self

    def remove(self) -> None:
        """Leave the connection as it was."""
        self.connection.execute_wrappers.remove(self._execute)
        del self.connection.commit
        del self.connection._warmer_watch

    def judge(
        self, unmatched: Iterable[Finding], *, how: Mode | None = None, before_commit: bool = False
    ) -> None:
        """Do something about writes that nothing matches, once.

        Args:
            unmatched: they are of this connection's journal.
            how: None for what the settings say.
            before_commit: their transaction is about to be committed.

        Raises:
            BypassError: there is one, and the mode is "raise".
        """
        found = list(unmatched)
        for each in found:
            each.write.concerns = ()
        if found:
            act(found, how=how or mode(), connection=self.connection, before_commit=before_commit)

    def _execute(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = as_text(sql, self.connection)
        if text.startswith("SELECT") and ";" not in text:
            return execute(sql, params, many, context)
        if text.startswith("RELEASE") and self._is_in_test_case():
            self._judge_the_end()
        statement = parse(text)
        if statement is None:
            return execute(sql, params, many, context)
        self.judge(each for each in self.journal.unmatched() if each.write.is_late())
        result = execute(sql, params, many, context)
        if statement.is_several or not _changed_nothing(context["cursor"]):
            for table in statement.tables:
                self._note(table, statement.verb)
        return result

    def _note(self, table: str, verb: str) -> None:
        concerns = concerns_by_key().get(table)
        if not concerns:
            return
        expect(concerns, using=self.connection.alias)  # nothing else may say so before the commit
        where = origin(table)
        if where.exempt:
            return
        if where.told and where.model is not None:
            # In its parent's table it may be beside others, of which it is none.
            told = {each.declared for each in jobs.concerned(where.model)}
            concerns = tuple(each for each in concerns if each.declared in told)
            if not concerns:
                return
        root = root_of(self.connection)
        self.journal.write(Write(root=root, table=table, verb=verb, origin=where, concerns=concerns))

    def _is_in_test_case(self) -> bool:
        """Say whether the transaction of a test case alone is open: what was inside it ends."""
        return bool(self.connection.atomic_blocks) and root_of(self.connection) is None

    def _judge_and_commit(self) -> None:
        try:
            self._judge_the_end()
        except Exception:
            self.connection.rollback()
            raise
        self._commit()

    def _judge_the_end(self) -> None:
        """Judge a transaction that ends now, unless Django opened it: its caller may invalidate yet."""
        self.journal.settle()
        unmatched = self.journal.unmatched()
        ending = ending_block() if unmatched else None
        if ending is not None and not ending.by_django:
            self.judge((each for each in unmatched if each.write.root is ending.block), before_commit=True)


def watch_of(connection: Any) -> Watch | None:
    """Return the watch of a connection."""
    watch: Watch | None = getattr(connection, "_warmer_watch", None)
    return watch


def watches_of_thread() -> Iterator[Watch]:
    """Yield the watches of this thread's connections."""
    for connection in connections.all(initialized_only=True):
        watch = watch_of(connection)
        if watch is not None:
            yield watch


def _changed_nothing(cursor: Any) -> bool:
    # With RETURNING the count is known only when the rows were fetched.
    return bool(cursor.rowcount == 0 and cursor.description is None)
