"""The invalidations of an open transaction: collected, dropped with a rollback, applied after commit."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from warmer import outbox
from warmer.changes import EVERY_KEY, EveryKey
from warmer.collected import Apply, Collected, Committed, Part, Savepoints, Transaction, are_too_many, frozen
from warmer.conf import conf
from warmer.far_rows import Elsewhere, asked_again
from warmer.keys import plain
from warmer.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class _New:
    """What one change asks for that was not asked for before."""

    ids: Collected
    apply: Apply


_transactions: weakref.WeakKeyDictionary[BaseDatabaseWrapper, Transaction] = weakref.WeakKeyDictionary()
_gathered: weakref.WeakKeyDictionary[BaseDatabaseWrapper, list[_New]] = weakref.WeakKeyDictionary()


def add(collected: Collected, *, using: str, apply: Apply, again: Collection[Elsewhere] = ()) -> None:
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
        if ids := asked_again(collected, again, using=using):
            apply(Committed(ids=ids, using=using))
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
    merged = Part(transaction=part.transaction)
    for each in gathered:
        for spec, ids in each.ids.items():
            merged.add(spec, ids)
    if merged.ids:
        _keep(part, {spec: frozen(ids) for spec, ids in merged.ids.items()}, using=using)


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


def _part(connection: BaseDatabaseWrapper, *, using: str, apply: Apply) -> Part:
    """Return what is collected under the open savepoints, and have it applied at the commit."""
    open_one = _transactions.get(connection)
    if open_one is None:
        open_one = _transactions[connection] = Transaction(using=using, apply=apply)
    callbacks, stack = connection.run_on_commit, tuple(connection.savepoint_ids)
    part = open_one.parts.get(stack)
    in_test_case = _is_in_test_case(connection)
    if part is not None and callbacks and callbacks[0][1] is part and not in_test_case:
        return part  # as at most calls
    if open_one.parts and not any(isinstance(each[1], Part) for each in callbacks):
        # What holds parts beyond their transaction (a traceback, a test's captured callbacks) must not make
        # the changes of the next one seem known.
        open_one.parts.clear()
        part = None
    if part is None:
        part = open_one.parts[stack] = Part(transaction=open_one, stack=stack)
    if in_test_case:  # which takes the callbacks of a block of its own
        transaction.on_commit(part, using=using, robust=True)
    else:
        _register(connection, Savepoints(part), part)
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


def _keep(part: Part, ids: Collected, *, using: str) -> None:
    if not conf.DURABLE_INVALIDATION:
        return  # before it is put together for nothing
    try:
        number = outbox.keep(as_kept(ids), using=using)
    except Error:
        part.transaction.set_aside(part)  # what it knows is not written down: a second try has to be
        raise
    if number is not None:
        part.kept[number] = connections[using].savepoint_state


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
