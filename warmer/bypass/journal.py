"""The journal of a connection: what happened on it and is not judged yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from warmer.bypass.events import Event, Match, Write
from warmer.bypass.findings import Finding


class Journal:
    """The writes on one connection, and what may match them.

    Django drops the `on_commit` callbacks of what is rolled back. Inside a transaction a callback is all
    that holds an event, so one that is gone was rolled back.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # Written for good, outside a transaction or in one that is committed.
        self._open: list[Write] = []
        # Inside transactions, by their savepoints.
        self._inside: WeakValueDictionary[Any, Event] = WeakValueDictionary()

    def clear(self) -> None:
        """Forget all of it, also what Django keeps until a commit."""
        for write in self._writes():
            write.concerns = ()
        self._open.clear()
        self._inside.clear()

    def write(self, write: Write) -> None:
        """Take in a write."""
        if self._connection.in_atomic_block:
            self._keep(write)
        else:
            self._stand(write)

    def match(self, match: Match) -> None:
        """Take in something that was recorded."""
        if self._connection.in_atomic_block:
            self._keep(match)
        if match.root is None:  # it stands, and counts for what was written before
            self._settle([match])

    def settle(self) -> None:
        """Have what was recorded in the transaction that is about to be committed count for good."""
        self._settle(self._matches())

    def unmatched(self) -> list[Finding]:
        """Return what was written in transactions that are over, and that nothing matches so far.

        A match in an open transaction is one as long as that is not rolled back.
        """
        matches = self._matches()
        return [
            Finding(write=write, concerns=left) for write in self._over() if (left := write.left(matches))
        ]

    def _settle(self, matches: Sequence[Match]) -> None:
        for write in self._over():
            write.concerns = write.left(matches)

    def _over(self) -> list[Write]:
        """Return the writes of transactions that are over, and that may be bypasses yet."""
        self._open = [write for write in self._open if write.concerns]
        return [write for write in self._writes() if write.concerns and write.is_over(self._connection)]

    def _writes(self) -> Iterable[Write]:
        inside = [event for event in self._inside.values() if isinstance(event, Write)]
        return dict.fromkeys([*self._open, *inside])

    def _matches(self) -> list[Match]:
        return [event for event in self._inside.values() if isinstance(event, Match)]

    def _keep(self, event: Event) -> None:
        """Have what happens inside a transaction kept as long as Django keeps its callbacks."""
        # A test case's transaction has no end: the order counts in it, as outside of one.
        what = event.number if event.root is None else event.what
        key = (event.root, tuple(self._connection.savepoint_ids), what)
        if key not in self._inside:
            self._inside[key] = event
            self._connection.on_commit(lambda: self._survive(event), robust=True)

    def _survive(self, event: Event) -> None:
        """Go on with a write that was committed and not judged: its match may come yet."""
        if isinstance(event, Write) and event.concerns:
            self._stand(event)

    def _stand(self, write: Write) -> None:
        """Keep what was written for good: once, however often a loop writes it."""
        if not any(map(write.repeats, self._open)):
            self._open.append(write)
