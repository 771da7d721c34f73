"""A job's ids, in batches: as a stream, with what cannot be an id set aside."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId
from warmer.filling.loading import QueryCount, counted_by
from warmer.keys import MAX_KEY_LENGTH, Batch, Id, plain
from warmer.report import Outcome, Report, describe

# How many ids of a queryset come from the database at once.
IDS_AT_ONCE = 2_000
# How many ids are looked at together.
READ_AT_ONCE = 10_000


def find_ids(spec: JobSpec) -> Iterable[Id]:
    """Return a keyed job's declared ids; of a queryset as a stream, which never holds all of them.

    Raises:
        Exception: whatever the declared function raises.
    """
    found: Any = spec.ids() if callable(spec.ids) else spec.ids
    if not isinstance(found, QuerySet):
        return found  # type: ignore[no-any-return]
    if issubclass(found._iterable_class, ModelIterable):
        found = found.values_list("pk", flat=True)
    # `all()`: a queryset keeps its rows, and a declared one would keep them for the next run.
    return found.all().iterator(chunk_size=IDS_AT_ONCE)  # type: ignore[no-any-return]


class Batches(Iterator[Batch]):
    """The batches of a job; of a single job, one batch.

    Memory holds one batch at a time, and not the ids. `report` counts what finding the ids cost so far, and
    the ids that cannot be part of a key, as failed.

    Args:
        ids: the ids to use instead of the declared ones.
    """

    def __init__(self, spec: JobSpec, ids: Iterable[Id] | None = None) -> None:
        self.report = Report(job=spec.name)
        self._spec = spec
        self._reads = _Reads()
        self._source: Iterator[Id] = iter(())
        self._stream = self._find(ids)

    def __next__(self) -> Batch:
        # The query runs at the first step, or, of a server-side cursor, at every one.
        with counted_by(self._reads) as count:
            before = count.queries
            try:
                batch = next(self._stream)
                if count.hold_a_snapshot():
                    self._source = read_out(self._source)
                return batch
            finally:
                if count.queries > before:
                    self.report += Report(job=self._spec.name, queries=count.queries - before)

    def _find(self, given: Iterable[Id] | None) -> Iterator[Batch]:
        if not self._spec.keyed:
            yield self._spec.key.batch(())
            return
        self._source = iter(find_ids(self._spec) if given is None else given)
        size = self._spec.batch_size
        batch: Batch = {}
        while some := list(islice(self._source, size - len(batch))):
            try:
                batch |= self._spec.key.batch(some)
            except InvalidId:
                for id in some:
                    self._take(id, batch)
            if len(batch) == size:
                yield batch
                batch = {}
        if batch:
            yield batch

    def _take(self, id: Id, batch: Batch) -> None:
        try:
            batch[self._spec.key.key(id)] = plain(id)
        except InvalidId as error:
            self._reject(id, error)

    def _reject(self, id: object, error: InvalidId) -> None:
        shown = f"{self._spec.key} with the id {_shortened(id)}"
        rejected = Report.of(
            self._spec.name, {shown: Outcome.FAILED}, errors={shown: describe(error)}, batches=0
        )
        self.report += rejected


class _Reads(QueryCount):
    """Counts the queries of a stream, and watches for those that are still being read."""

    def __init__(self) -> None:
        super().__init__()
        self._cursors: list[weakref.ref[Any]] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if context["connection"].vendor == "sqlite":
            self._cursors.append(weakref.ref(context["cursor"]))
        return super().__call__(execute, sql, params, many, context)

    def hold_a_snapshot(self) -> bool:
        """Return whether an open read hides new rows from other reads on its connection.

        With SQLite it does, also outside of transactions, so a loader would read what may be older than
        its token. Elsewhere a statement does not.
        """
        self._cursors = [cursor for cursor in self._cursors if cursor() is not None]
        return bool(self._cursors)


def read_out(source: Iterator[Id]) -> Iterator[Id]:
    """Read a stream to its end, and keep it in little memory: 8 bytes for a number of 64 bits."""
    numbers = array("q")
    while some := list(islice(source, READ_AT_ONCE)):
        if set(map(type, some)) != {int}:
            return chain(numbers, some, list(source))
        few: list[int] = some  # type: ignore[assignment]
        if min(few) < -(2**63) or max(few) >= 2**63:
            return chain(numbers, few, list(source))
        numbers.extend(few)
    return iter(numbers)


def _shortened(id: object) -> str:
    try:
        text = repr(id)
    except ValueError:  # an int of more digits than Python writes
        return "of very many digits"
    return text if len(text) <= MAX_KEY_LENGTH else f"{text[:MAX_KEY_LENGTH]}..."
