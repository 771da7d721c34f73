"""The invalidations of an open transaction: collected, dropped with a rollback, applied after commit."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from warmer import outbox
from warmer.changes import EVERY_KEY, NO_IDS, Elsewhere, EveryKey, Ids, both, merged
from warmer.conf import conf
from warmer.keys import Id, plain
from warmer.spec import JobSpec

Collected = Mapping[JobSpec, Ids]


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What a transaction, or a change outside of one, asks to invalidate.

    Attributes:
        ids: by job.
        using: the database of the change.
        kept: the rows in the outbox that say the same.
    """

    ids: Collected
    using: str
    kept: Sequence[int] = ()


Apply = Callable[[Committed], object]


@dataclass(eq=False, kw_only=True)
class _Part:
    """What was collected under one stack of savepoints; it lives as long as Django keeps its callback.

    Django drops the `on_commit` callbacks of a savepoint, or a transaction, that is rolled back. The
    callback is the only strong reference to its part, so a part that is gone was rolled back.

    Attributes:
        ids: what to invalidate at the commit.
        noted: jobs whose rows may have been written, of which nothing else is known yet.
        kept: the rows in the outbox, each with how many savepoints the connection had made before it.
        again: rows that are asked for their ids once more at the commit.
    """

    transaction: _Transaction
    stack: tuple[str | None, ...] = ()
    ids: dict[JobSpec, set[Id] | EveryKey] = field(default_factory=dict)
    noted: set[JobSpec] = field(default_factory=set)
    kept: dict[int, int] = field(default_factory=dict)
    again: list[Elsewhere] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name == "__qualname__":  # by which Django names a callback that fails
            return type(self).__qualname__
        raise AttributeError(name)

    def add(self, spec: JobSpec, ids: Ids) -> Ids:
        """Take ids in; return those that are new."""
        known = self.ids.setdefault(spec, set())
        if isinstance(known, EveryKey):
            return frozenset()
        if isinstance(ids, EveryKey):
            self.ids[spec] = EVERY_KEY
            return EVERY_KEY
        new = ids - known
        known.update(new)
        if are_too_many(spec, known):
            self.ids[spec] = EVERY_KEY
            return EVERY_KEY
        return new

    def on_rollback(self, savepoint: str) -> None:
        """Hear that a savepoint was rolled back under which the part was not begun.

        Rows that were written since it was made are gone. What comes now is written down anew, in another
        part: this one invalidates too much, then, which costs a miss.
        """
        since = _number(savepoint)
        undone = [row for row, made in self.kept.items() if made >= since]
        for row in undone:
            del self.kept[row]
        if undone:
            self.transaction.set_aside(self)

    def __call__(self) -> None:
        self.transaction.flush(self)


class _Savepoints(set[str | None]):
    """The savepoints that were open when a part was begun, as Django keeps them with its callback.

    Of each savepoint that is rolled back Django asks whether it was among them. One that was made by hand,
    with `transaction.savepoint()`, never is, and only so is it heard of.
    """

    def __init__(self, part: _Part) -> None:
        super().__init__(part.stack)
        self._part = part

    def __contains__(self, savepoint: object) -> bool:
        if super().__contains__(savepoint):
            return True
        self._part.on_rollback(str(savepoint))
        return False


@dataclass(eq=False, kw_only=True)
class _Transaction:
    """What is pending on one database connection."""

    using: str
    apply: Apply
    parts: weakref.WeakValueDictionary[tuple[object, ...], _Part] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def alive(self) -> list[_Part]:
        return [part for ref in self.parts.valuerefs() if (part := ref()) is not None]

    def set_aside(self, part: _Part) -> None:
        """Have the next change under the part's savepoints begin another."""
        if self.parts.get(part.stack) is part:
            del self.parts[part.stack]
            self.parts[*part.stack, object()] = part

    def flush(self, called: _Part) -> None:
        """Apply all that survived at once, at the first callback; the later ones find nothing left."""
        ids: dict[JobSpec, Ids] = {}
        kept: list[int] = []
        again: list[Elsewhere] = []
        parts = self.alive()
        if called not in parts:
            parts.append(called)
        for part in parts:
            for spec, each in part.ids.items():
                ids[spec] = both(ids.get(spec, NO_IDS), _frozen(each))
            kept += part.kept
            again += part.again
            part.ids, part.noted, part.kept, part.again = {}, set(), {}, []
        for rows in merged(again):
            known = ids.get(rows.concern.spec, NO_IDS)
            if not isinstance(known, EveryKey):
                ids[rows.concern.spec] = both(known, rows.ids(self.using))
        if ids:
            self.apply(Committed(ids=ids, using=self.using, kept=tuple(kept)))


@dataclass(frozen=True, kw_only=True)
class _New:
    """What one change asks for that was not asked for before."""

    ids: Collected
    apply: Apply


_transactions: weakref.WeakKeyDictionary[BaseDatabaseWrapper, _Transaction] = weakref.WeakKeyDictionary()
_gathered: weakref.WeakKeyDictionary[BaseDatabaseWrapper, list[_New]] = weakref.WeakKeyDictionary()


def add(collected: Collected, *, using: str, apply: Apply, again: Iterable[Elsewhere] = ()) -> None:
    """Invalidate when the transaction on `using` commits; at once where there is none.

    Inside a transaction what is new is also written to the outbox, with the change.

    Args:
        collected: ids by job.
        using: the database of the change.
        apply: called once after the commit, with all that was collected.
        again: rows that are asked for their ids once more, then.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        if collected:
            apply(Committed(ids=collected, using=using))
        return
    part = _part(connection, using=using, apply=apply)
    part.again += again
    new = {spec: fresh for spec, ids in collected.items() if (fresh := part.add(spec, ids))}
    gathered = _gathered.get(connection) if _gathered else None
    if gathered is not None:
        gathered.append(_New(ids=new, apply=apply))
    elif new:
        _keep(part, new, using=using)


@contextmanager
def together(*, using: str) -> Iterator[None]:
    """Write what the changes of a block ask for to the outbox as one row, at its end.

    The block and its end are in one transaction, and make one change: it stands or falls as a whole.
    """
    connection = connections[using]
    if not connection.in_atomic_block or connection in _gathered:
        yield
        return
    gathered = _gathered[connection] = []
    try:
        yield
    finally:
        del _gathered[connection]
    if not gathered:
        return
    part = _part(connection, using=using, apply=gathered[0].apply)
    merged = _Part(transaction=part.transaction)
    for each in gathered:
        for spec, ids in each.ids.items():
            merged.add(spec, ids)
    if merged.ids:
        _keep(part, {spec: _frozen(ids) for spec, ids in merged.ids.items()}, using=using)


def are_too_many(spec: JobSpec, ids: Sized) -> bool:
    """Say whether so many ids are to be invalidated as the whole job is.

    All of them in one step would hold up the cache server, and the fence would forget most at once. A cache
    that cannot list the job's keys would not find them again.
    """
    return len(ids) > conf.FENCE_RECORDS and spec.keyed and spec.store.lists_keys


def bounded(collected: Collected) -> Collected:
    """Return what is to be invalidated, with whole jobs for ids that are too many."""
    return {
        spec: EVERY_KEY if not isinstance(ids, EveryKey) and are_too_many(spec, ids) else ids
        for spec, ids in collected.items()
    }


def note(specs: Iterable[JobSpec], *, using: str, apply: Apply) -> None:
    """Have the jobs count as pending until the transaction on `using` ends: their rows are being written.

    Nothing is invalidated by it. Without a transaction it does nothing.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        _part(connection, using=using, apply=apply).noted.update(specs)


def call_first(connection: BaseDatabaseWrapper, callback: Callable[[], object]) -> None:
    """Have something called after the commit, before whatever the project has called then.

    A callback that raises stops those that come after it. Also just before the commit, when the connection
    says already that it is in no transaction.
    """
    _register(connection, set(connection.savepoint_ids), callback)


def _part(connection: BaseDatabaseWrapper, *, using: str, apply: Apply) -> _Part:
    """Return what is collected under the open savepoints, and have it applied at the commit."""
    open_one = _transactions.get(connection)
    if open_one is None:
        open_one = _transactions[connection] = _Transaction(using=using, apply=apply)
    callbacks, stack = connection.run_on_commit, tuple(connection.savepoint_ids)
    part = open_one.parts.get(stack)
    in_test_case = _is_in_test_case(connection)
    if part is not None and callbacks and callbacks[0][1] is part and not in_test_case:
        return part  # as at most calls
    if open_one.parts and not any(isinstance(each[1], _Part) for each in callbacks):
        # What holds parts beyond their transaction (a traceback, a test's captured callbacks) must not make
        # the changes of the next one seem known.
        open_one.parts.clear()
        part = None
    if part is None:
        part = open_one.parts[stack] = _Part(transaction=open_one, stack=stack)
    if in_test_case:  # which takes the callbacks of a block of its own
        transaction.on_commit(part, using=using, robust=True)
    else:
        _register(connection, _Savepoints(part), part)
    return part


def _register(
    connection: BaseDatabaseWrapper, savepoints: set[str | None], callback: Callable[[], object]
) -> None:
    entry: Any = (savepoints, callback, True)
    if _is_in_test_case(connection):
        connection.run_on_commit.append(entry)
    else:
        connection.run_on_commit.insert(0, entry)


def _is_in_test_case(connection: Any) -> bool:
    """Say whether a test case's transaction is open, which is never committed."""
    return bool(connection.atomic_blocks) and connection.atomic_blocks[0]._from_testcase


def _keep(part: _Part, ids: Collected, *, using: str) -> None:
    if not conf.DURABLE_INVALIDATION:
        return  # before it is put together for nothing
    try:
        number = outbox.keep(as_kept(ids), using=using)
    except Error:
        part.transaction.set_aside(part)  # what it knows is not written down: a second try has to be
        raise
    if number is not None:
        part.kept[number] = connections[using].savepoint_state


def _number(savepoint: str) -> int:
    """Return which one of its connection's savepoints it is; 0 where its name does not tell."""
    digits = savepoint.rpartition("_x")[2]
    return int(digits) if digits.isdecimal() else 0


def is_pending(spec: JobSpec) -> bool:
    """Say whether this thread's open transactions changed, or may have, something that the job reads."""
    for connection in connections.all(initialized_only=True):
        open_one = _transactions.get(connection)
        if open_one is None or not connection.in_atomic_block:
            continue
        if any(spec in part.ids or spec in part.noted for part in open_one.alive()):
            return True
    return False


def as_kept(collected: Collected) -> outbox.Kept:
    """Return invalidations as the outbox keeps them."""
    return outbox.Kept(
        ids={
            spec.name: None
            if isinstance(ids, EveryKey) or not spec.keyed
            else sorted(map(plain, ids), key=str)
            for spec, ids in collected.items()
        },
        keys={spec.name: str(spec.key) for spec in collected},
    )


def _frozen(ids: set[Id] | frozenset[Id] | EveryKey) -> Ids:
    return ids if isinstance(ids, EveryKey) else frozenset(ids)
