"""Watches: what one connection executes and commits, and what is left to be judged of it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic

from warmer.bypass.actions import ACTIONS
from warmer.bypass.endings import ending_block
from warmer.bypass.events import Event, Match, Write
from warmer.bypass.findings import Bypass
from warmer.bypass.modes import mode
from warmer.bypass.origins import origin
from warmer.bypass.statements import parse
from warmer.bypass.tables import concerns_by_key
from warmer.registry import Concern


class Watch:
    """What happened on one connection and is not judged yet."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection: Any = connection
        # Written for good, outside a transaction or in one that is committed.
        self._open: list[Write] = []
        # Inside transactions, until Django drops them.
        self._inside: dict[Any, weakref.ref[Event]] = {}
        self._root: Atomic | None = None
        self._commit: Any = None

    def install(self) -> None:
        # First, not last: `connection.execute_wrapper()` takes away the last one at its end.
        self.connection.execute_wrappers.insert(0, self._execute)
        self._commit = self.connection.commit
        self.connection.commit = self._judge_and_commit
        self.connection._warmer_watch = self

    def remove(self) -> None:
        self.connection.execute_wrappers.remove(self._execute)
        del self.connection.commit
        del self.connection._warmer_watch

    def clear(self) -> None:
        self._open.clear()
        self._inside.clear()

    def match(self, match: Match) -> None:
        """Take in something that was recorded."""
        self._take(match, (match.concern, match.spec, match.by_hand))
        if match.root is None:  # it stands, and counts for what was written before
            for write in self._writes():
                write.concerns = write.left([match])
            self.unmatched()

    def unmatched(self) -> list[_Unmatched]:
        """Return what was written in transactions that are over, and that nothing matches so far."""
        matches = [event for event in self._events() if isinstance(event, Match)]
        unmatched = []
        for write in self._writes():
            left = write.left(matches)
            write.settled = not left
            if left:
                unmatched.append(_Unmatched(write=write, concerns=left))
        self._open = [write for write in self._open if not write.settled]
        return unmatched

    def _events(self) -> list[Event]:
        return [event for ref in self._inside.values() if (event := ref()) is not None]

    def _writes(self) -> list[Write]:
        """Return the writes of transactions that are over."""
        inside = [event for event in self._events() if isinstance(event, Write)]
        writes = dict.fromkeys([*self._open, *inside])
        return [write for write in writes if not write.settled and write.is_over(self.connection)]

    def judge(self, unmatched: Iterable[_Unmatched], *, before_commit: bool = False) -> None:
        """Do what the settings say about writes that nothing matches."""
        found = []
        for each in unmatched:
            each.write.settled = True
            found.append(each.bypass())
        self._open = [write for write in self._open if not write.settled]
        if found:
            ACTIONS[mode()](found, self.connection, before_commit)

    def _execute(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = sql if isinstance(sql, str) else _text(sql, self.connection)
        if text.startswith("SELECT"):
            return execute(sql, params, many, context)
        if text.startswith("RELEASE") and self._is_in_test_case():
            self._judge_the_end()
        statement = parse(text)
        if statement is None:
            return execute(sql, params, many, context)
        if self._open or self._inside:
            self.judge(each for each in self.unmatched() if each.write.is_late())
        result = execute(sql, params, many, context)
        if not _changed_nothing(context["cursor"]):
            for table in statement.tables:
                self._note(table, statement.verb)
        return result

    def _note(self, table: str, verb: str) -> None:
        concerns = concerns_by_key().get(table)
        if not concerns:
            return
        where = origin(table)
        if where.exempt:
            return
        write = Write(
            table=table, verb=verb, origin=where, concerns=concerns, at=time.monotonic(), survived=self._keep
        )
        self._take(write, (table, verb, where.told or (where.path, where.line)))
        if not self.connection.in_atomic_block:
            self._open.append(write)

    def _take(self, event: Event, what: Any) -> None:
        """Have what happens inside a transaction kept as long as Django keeps its callbacks."""
        if not self.connection.in_atomic_block:
            return
        blocks = self.connection.atomic_blocks
        event.root = next((block for block in blocks if not block._from_testcase), None)
        if event.root is None:
            what = event.number  # a test case's transaction has no end: the order counts, as outside of one
        elif event.root is not self._root:
            self._root = event.root
            self._inside = {key: ref for key, ref in self._inside.items() if ref() is not None}
        key = (event.root, tuple(self.connection.savepoint_ids), what)
        known = self._inside.get(key)
        if known is None or known() is None:
            self._inside[key] = weakref.ref(event)
            self.connection.on_commit(event, robust=True)

    def _is_in_test_case(self) -> bool:
        """Say whether the transaction of a test case alone is open: what was inside it ends."""
        blocks = self.connection.atomic_blocks
        return bool(blocks) and all(block._from_testcase for block in blocks)

    def _keep(self, event: Event) -> None:
        """Go on with a write that was committed and not judged: its match may come yet."""
        if isinstance(event, Write) and not event.settled and event not in self._open:
            self._open.append(event)

    def _judge_and_commit(self) -> None:
        try:
            self._judge_the_end()
        except Exception:
            self.connection.rollback()
            raise
        self._commit()

    def _judge_the_end(self) -> None:
        """Judge a transaction that ends now, unless Django opened it: its caller may invalidate yet."""
        if not self._inside:
            return
        unmatched = self.unmatched()
        ending = ending_block()
        if ending is not None and not ending.by_django:
            self.judge((each for each in unmatched if each.write.root is ending.block), before_commit=True)


@dataclass(frozen=True, kw_only=True)
class _Unmatched:
    """A write, and the concerns that nothing matches."""

    write: Write
    concerns: Sequence[Concern]

    def bypass(self) -> Bypass:
        specs = dict.fromkeys(concern.spec for concern in self.concerns)
        write = self.write
        return Bypass(table=write.table, verb=write.verb, origin=write.origin, jobs=tuple(specs))


def watch_of(connection: Any) -> Watch | None:
    watch: Watch | None = getattr(connection, "_warmer_watch", None)
    return watch


def watches_of_thread() -> Iterator[Watch]:
    for connection in connections.all(initialized_only=True):
        watch = watch_of(connection)
        if watch is not None:
            yield watch


def _text(sql: Any, connection: Any) -> str:
    """Return a statement that psycopg composes."""
    return str(sql.as_string(connection.connection)) if hasattr(sql, "as_string") else ""


def _changed_nothing(cursor: Any) -> bool:
    # With RETURNING the count is known only when the rows were fetched.
    return bool(cursor.rowcount == 0 and cursor.description is None)
