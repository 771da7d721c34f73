"""The invalidations of an open transaction: collected, dropped with a rollback, applied after commit."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from warmer import outbox
from warmer.changes import EVERY_KEY, EveryKey, Ids
from warmer.keys import Id
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


Apply = Callable[[Committed], None]


@dataclass(eq=False, kw_only=True)
class _Part:
    """What was collected under one stack of savepoints; it lives as long as Django keeps its callback.

    Django drops the `on_commit` callbacks of a savepoint, or a transaction, that is rolled back. The
    callback is the only strong reference to its part, so a part that is gone was rolled back.
    """

    transaction: _Transaction
    ids: dict[JobSpec, set[Id] | EveryKey] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)

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
        return new

    def __call__(self) -> None:
        self.transaction.flush()


@dataclass(eq=False, kw_only=True)
class _Transaction:
    """What is pending on one database connection."""

    using: str
    apply: Apply
    parts: dict[tuple[str | None, ...], weakref.ref[_Part]] = field(default_factory=dict)

    def alive(self) -> list[_Part]:
        return [part for ref in self.parts.values() if (part := ref()) is not None]

    def flush(self) -> None:
        """Apply all that survived at once, at the first callback; the later ones find nothing left."""
        parts = self.alive()
        self.parts.clear()
        together = _Part(transaction=self)
        for part in parts:
            for spec, ids in part.ids.items():
                together.add(spec, _frozen(ids))
            together.kept += part.kept
            part.ids = {}
        if together.ids:
            collected = {spec: _frozen(each) for spec, each in together.ids.items()}
            self.apply(Committed(ids=collected, using=self.using, kept=tuple(together.kept)))


@dataclass(frozen=True, kw_only=True)
class _New:
    """What one change asks for that was not asked for before."""

    ids: Collected
    apply: Apply


_transactions: weakref.WeakKeyDictionary[BaseDatabaseWrapper, _Transaction] = weakref.WeakKeyDictionary()
_gathered: weakref.WeakKeyDictionary[BaseDatabaseWrapper, list[_New]] = weakref.WeakKeyDictionary()


def add(collected: Collected, *, using: str, apply: Apply) -> None:
    """Invalidate when the transaction on `using` commits; at once where there is none.

    Inside a transaction what is new is also written to the outbox, with the change.

    Args:
        collected: ids by job.
        using: the database of the change.
        apply: called once after the commit, with all that was collected.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        apply(Committed(ids=collected, using=using))
        return
    part = _part(connection, using=using, apply=apply)
    new = {spec: fresh for spec, ids in collected.items() if (fresh := part.add(spec, ids))}
    gathered = _gathered.get(connection)
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


def _part(connection: BaseDatabaseWrapper, *, using: str, apply: Apply) -> _Part:
    """Return what is collected under the open savepoints, and have it applied at the commit."""
    open_one = _transactions.setdefault(connection, _Transaction(using=using, apply=apply))
    stack = tuple(connection.savepoint_ids)
    ref = open_one.parts.get(stack)
    part = ref() if ref is not None else None
    if part is None:
        part = _Part(transaction=open_one)
        open_one.parts[stack] = weakref.ref(part)
    # Registered at every change, not once: what holds a part beyond its transaction (a traceback, a
    # test's captured callbacks) must not keep the changes of the next one from being applied.
    transaction.on_commit(part, using=using, robust=True)
    return part


def _keep(part: _Part, ids: Collected, *, using: str) -> None:
    number = outbox.keep(as_kept(ids), using=using)
    if number is not None:
        part.kept.append(number)


def is_pending(spec: JobSpec) -> bool:
    """Say whether this thread's open transactions changed something that the job reads."""
    for connection in connections.all(initialized_only=True):
        open_one = _transactions.get(connection)
        if open_one is None or not connection.in_atomic_block:
            continue
        if any(spec in part.ids for part in open_one.alive()):
            return True
    return False


def as_kept(collected: Collected) -> dict[str, list[Any] | None]:
    """Return invalidations as the outbox keeps them."""
    return {
        spec.name: None if isinstance(ids, EveryKey) or not spec.keyed else sorted(ids, key=str)
        for spec, ids in collected.items()
    }


def _frozen(ids: set[Id] | frozenset[Id] | EveryKey) -> Ids:
    return ids if isinstance(ids, EveryKey) else frozenset(ids)
