"""What the changes of one open transaction ask for: parts that live as long as their savepoints."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

from warmer.changes import EVERY_KEY, NO_IDS, EveryKey, Ids, both
from warmer.conf import conf
from warmer.far_rows import Elsewhere, asked_again
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


Apply = Callable[[Committed], object]


@dataclass(eq=False, kw_only=True)
class Part:
    """What was collected under one stack of savepoints; it lives as long as Django keeps its callback.

    Django drops the `on_commit` callbacks of a savepoint, or a transaction, that is rolled back. The
    callback is the only strong reference to its part, so a part that is gone was rolled back.

    Attributes:
        ids: what to invalidate at the commit.
        noted: jobs whose rows may have been written, of which nothing else is known yet.
        kept: the rows in the outbox, each with how many savepoints the connection had made before it.
        again: rows that are asked for their ids once more at the commit.
    """

    transaction: Transaction
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


class Savepoints(set[str | None]):
    """The savepoints that were open when a part was begun, as Django keeps them with its callback.

    Of each savepoint that is rolled back Django asks whether it was among them. One that was made by hand,
    with `transaction.savepoint()`, never is, and only so is it heard of.
    """

    def __init__(self, part: Part) -> None:
        super().__init__(part.stack)
        self._part = part

    def __contains__(self, savepoint: object) -> bool:
        if super().__contains__(savepoint):
            return True
        self._part.on_rollback(str(savepoint))
        return False


@dataclass(eq=False, kw_only=True)
class Transaction:
    """What is pending on one database connection."""

    using: str
    apply: Apply
    parts: weakref.WeakValueDictionary[tuple[object, ...], Part] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def alive(self) -> list[Part]:
        return [part for ref in self.parts.valuerefs() if (part := ref()) is not None]

    def set_aside(self, part: Part) -> None:
        """Have the next change under the part's savepoints begin another."""
        if self.parts.get(part.stack) is part:
            del self.parts[part.stack]
            self.parts[*part.stack, object()] = part

    def flush(self, called: Part) -> None:
        """Apply all that survived at once, at the first callback; the later ones find nothing left."""
        ids: dict[JobSpec, Ids] = {}
        kept: list[int] = []
        again: list[Elsewhere] = []
        parts = self.alive()
        if called not in parts:
            parts.append(called)
        for part in parts:
            for spec, each in part.ids.items():
                ids[spec] = both(ids.get(spec, NO_IDS), frozen(each))
            kept += part.kept
            again += part.again
            part.ids, part.noted, part.kept, part.again = {}, set(), {}, []
        if all_ids := asked_again(ids, again, using=self.using):
            self.apply(Committed(ids=all_ids, using=self.using, kept=tuple(kept)))


def are_too_many(spec: JobSpec, ids: Sized) -> bool:
    """Say whether so many ids are to be invalidated as the whole job is.

    All of them in one step would hold up the cache server, and the fence would forget most at once. A cache
    that cannot list the job's keys would not find them again.
    """
    # One id, as most changes have, is never too many: then no setting is read.
    return len(ids) > 1 and spec.keyed and len(ids) > conf.FENCE_RECORDS and spec.store.lists_keys


def _number(savepoint: str) -> int:
    """Return which one of its connection's savepoints it is; 0 where its name does not tell."""
    digits = savepoint.rpartition("_x")[2]
    return int(digits) if digits.isdecimal() else 0


def frozen(ids: set[Id] | frozenset[Id] | EveryKey) -> Ids:
    return ids if isinstance(ids, EveryKey) else frozenset(ids)
