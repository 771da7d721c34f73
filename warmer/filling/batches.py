"""A job's ids in batches, as a stream, with invalid ids set aside."""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import chain, islice
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import QuerySet
from django.db.models.query import ModelIterable

from warmer.context import settings_context
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId
from warmer.filling.loading import counted_queries
from warmer.keys import MAX_KEY_LENGTH, Batch, Id, as_id
from warmer.report import Outcome, Report, describe

# Ids fetched from the database at once.
IDS_AT_ONCE = 2_000
# Ids processed together.
READ_AT_ONCE = 10_000


def find_ids(spec: JobSpec, *, at_most: int | None = None) -> Iterable[Id]:
    """Return a keyed job's declared ids; a queryset is read completely, with one query.

    A server-side cursor lives on one connection, and a pooler may switch connections between two statements
    unless they are in one transaction.

    Args:
        at_most: read at most this many ids of a queryset.

    Raises:
        InvalidId: the function of the ids returns none of them, e.g. because it has no `return`.
    """
    found: Any = spec.ids() if callable(spec.ids) else spec.ids
    if not isinstance(found, Iterable) or isinstance(found, str | bytes):  # of which each character is one
        kind = type(found).__name__
        raise InvalidId(f"the function of ids= returned {kind}: expected a queryset, or other ids to iterate")
    if not isinstance(found, QuerySet):
        return found
    if issubclass(found._iterable_class, ModelIterable):
        found = found.values_list("pk", flat=True)
    connection = connections[found.db]
    # Only PostgreSQL has such cursors; elsewhere a transaction could lock, or take a query to begin.
    has_cursors = connection.vendor == "postgresql" and not connection.in_atomic_block
    with transaction.atomic(using=found.db) if has_cursors else nullcontext():
        # A slice is a new queryset; the declared one would keep its rows for the next run.
        return read_out(found[:at_most].iterator(chunk_size=IDS_AT_ONCE))


def ids_of(spec: JobSpec, keys: Collection[str]) -> Iterator[Id]:
    """Yield the declared ids of keys: a key has the text of its id, and not its type."""
    for id in find_ids(spec):
        with suppress(InvalidId):
            if spec.key.key(id) in keys:
                yield id


class Batches(Iterator[Batch]):
    """The batches of a job; a single job has one batch.

    Holds one batch in memory at a time, plus the packed ids of a queryset. `report` counts the cost of
    finding the ids so far, and counts ids that cannot be part of a key as failed.

    Args:
        ids: the ids to use instead of the declared ones.
    """

    def __init__(self, spec: JobSpec, ids: Iterable[Id] | None = None) -> None:
        self.report = Report(job=spec.name)
        self._spec = spec
        self._source: Iterator[Id] = iter(())
        self._stream = self._find(ids)

    @settings_context()
    def __next__(self) -> Batch:
        with counted_queries() as count:
            try:
                batch = next(self._stream)
                if "sqlite" in count.vendors:
                    # An open query hides new rows from other reads on its connection, even outside of
                    # transactions, so a loader could read values older than its token.
                    self._source = read_out(self._source)
                return batch
            finally:
                if count.queries:
                    self.report += Report(job=self._spec.name, queries=count.queries)

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
            batch[self._spec.key.key(id)] = as_id(id)
        except InvalidId as error:
            shown = f"{self._spec.key} with the id {repr(id)[:MAX_KEY_LENGTH]}"
            failed, errors = {shown: Outcome.FAILED}, {shown: describe(error)}
            self.report += Report.of(self._spec.name, failed, errors)


def read_out(source: Iterable[Id]) -> Iterator[Id]:
    """Read all ids, and keep them in little memory: 8 bytes for an integer, 16 for a UUID."""
    rest = iter(source)
    pages = [_packed(some) for some in iter(lambda: list(islice(rest, READ_AT_ONCE)), [])]
    return chain.from_iterable(map(_unpacked, pages))


def _packed(ids: list[Id]) -> Sequence[Any]:
    types = set(map(type, ids))
    if types == {UUID}:
        return b"".join(id.bytes for id in ids)  # type: ignore[union-attr]
    try:
        return array("q", ids) if types == {int} else ids
    except OverflowError:  # more than 64 bits
        return ids


def _unpacked(page: Sequence[Any]) -> Iterable[Id]:
    if isinstance(page, bytes):
        return (UUID(bytes=page[at : at + 16]) for at in range(0, len(page), 16))
    return page
