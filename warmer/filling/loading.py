"""Call what a job declares: find its ids, in batches, and load their values."""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Self
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections, router
from django.db.models import QuerySet
from django.db.models.query import ModelIterable
from django.db.transaction import atomic

from warmer.context import settings_context
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, LoaderError
from warmer.keys import MAX_KEY_LENGTH, Batch, Id
from warmer.report import Outcome, Report, describe

IDS_AT_ONCE = 2_000  # fetched from the database
READ_AT_ONCE = 10_000  # packed together


def find_ids(spec: JobSpec, *, at_most: int | None = None) -> Iterable[Id]:
    """Return a keyed job's declared ids; a queryset is read completely, with one query.

    Args:
        at_most: return only the first ids, and read no more of a queryset.

    Raises:
        InvalidId: the function of the ids returns none of them, e.g. because it has no `return`.
    """
    found: Any = spec.ids() if callable(spec.ids) else spec.ids
    if not isinstance(found, Iterable) or isinstance(found, str | bytes):  # of which each character is one
        kind = type(found).__name__
        raise InvalidId(f"the function of ids= returned {kind}: expected a queryset, or other ids to iterate")
    if not isinstance(found, QuerySet):
        return islice(found, at_most)
    if issubclass(found._iterable_class, ModelIterable):
        found = found.values_list("pk", flat=True)
    connection = connections[found.db]
    # In a transaction, as a pooler could change the connection, and so lose PostgreSQL's cursor, between two
    # statements. Elsewhere a transaction could lock, or take a query to begin.
    has_cursors = connection.vendor == "postgresql" and not connection.in_atomic_block
    with atomic(using=found.db) if has_cursors else nullcontext():
        # A slice is a new queryset; the declared one would keep its rows for the next run.
        return read_out(found[:at_most].iterator(chunk_size=IDS_AT_ONCE))


def ids_of(spec: JobSpec, keys: Collection[str]) -> Iterator[Id]:
    """Yield the declared ids of keys: a key has the text of its id, and not its type."""
    for id in find_ids(spec):
        with suppress(InvalidId):
            if spec.key.key(id) in keys:
                yield id


class Batches(Iterator[Batch]):
    """The batches of a job, of its declared ids or of others; a single job has one batch.

    Holds one batch in memory at a time, plus the packed ids of a queryset. `report` counts the cost of
    finding the ids so far, and counts ids that cannot be part of a key as failed.
    """

    def __init__(self, spec: JobSpec, ids: Iterable[Id] | None = None) -> None:
        self.report = Report(job=spec.name)
        self._spec = spec
        self._source: Iterator[Id] = iter(())
        self._stream = self._find(ids) if spec.keyed else iter([spec.key.batch(())])

    @settings_context()
    def __next__(self) -> Batch:
        with QueryCount() as count:
            try:
                batch = next(self._stream)
                if count.any_on_sqlite:
                    # An open query hides new rows from other reads on its connection, even outside of
                    # transactions, so a loader could read values older than its token.
                    self._source = read_out(self._source)
                return batch
            finally:
                self.report += Report(job=self._spec.name, queries=count.queries)

    def _find(self, given: Iterable[Id] | None) -> Iterator[Batch]:
        self._source = iter(find_ids(self._spec) if given is None else given)
        size = self._spec.batch_size
        batch: Batch = {}
        while some := list(islice(self._source, size - len(batch))):
            try:
                batch |= self._spec.key.batch(some)
            except InvalidId:
                batch |= self._valid(some)
            if len(batch) == size:
                yield batch
                batch = {}
        if batch:
            yield batch

    def _valid(self, ids: list[Id]) -> Batch:
        batch: Batch = {}
        for id in ids:
            try:
                batch |= self._spec.key.batch([id])
            except InvalidId as error:
                shown = f"{self._spec.key} with the id {repr(id)[:MAX_KEY_LENGTH]}"
                self.report += Report.of(self._spec.name, {shown: Outcome.FAILED}, {shown: describe(error)})
        return batch


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


# Errors of the whole batch rather than of one row: loading the halves would not help.
WHOLE_BATCH = (OperationalError, InterfaceError, LoaderError)

# The jobs whose loaders are running in this thread, innermost last.
_loading: ContextVar[tuple[JobSpec, ...]] = ContextVar("_loading", default=())


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The result of a loader: values by key, and the keys without a value."""

    values: Mapping[str, Any]
    absent: tuple[str, ...]


@settings_context()
def load(spec: JobSpec, batch: Batch) -> Loaded:
    """Load a batch, with the language and time zone of the settings.

    An id that the loader leaves out, or maps to None, has no value. Ids are matched by their keys, so 42 and
    "42" are the same. Ids that were not requested are ignored.

    Raises:
        LoaderError: the loader did not return what its job declares.
        InvalidId: no id that it returned can be part of a key.
        Exception: whatever the loader raises.
    """
    loaded = _call(spec, list(batch.values())) if spec.keyed else {None: _call(spec)}
    if not isinstance(loaded, Mapping):
        raise LoaderError(
            f"The loader of {spec.name!r} returned {type(loaded).__name__}: expected a mapping "
            "from each id to its value, e.g. {row['id']: row for row in rows}."
        )
    values = {key: value for key, id in batch.items() if (value := loaded.get(id)) is not None}
    if len(values) != len(loaded):  # some ids differ from the requested ones, or have no value
        given = _by_key(spec, loaded)
        values = {key: given[key] for key in batch if key in given}
    return Loaded(values=values, absent=tuple(key for key in batch if key not in values))


def is_loading(spec: JobSpec) -> bool:
    """Return whether the caller is the job's own loader, which must not wait for other loads of the job."""
    return spec in _loading.get()


def _call(spec: JobSpec, *args: Any) -> Any:
    outer = _loading.set((*_loading.get(), spec))
    try:
        return spec.loader(*args)
    finally:
        _loading.reset(outer)


def _by_key(spec: JobSpec, loaded: Mapping[Any, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    odd: InvalidId | None = None
    for id, value in loaded.items():
        if value is not None:
            try:
                given[spec.key.key(id)] = value
            except InvalidId as error:  # an extra row, which must not cost the others their values
                odd = error
    if odd is not None and not given:
        raise odd
    return given


def load_past_the_cache(spec: JobSpec, wanted: Batch) -> dict[str, Any]:
    """Load keys batch by batch, and store nothing."""
    values: dict[str, Any] = {}
    for batch in in_batches(wanted, spec.batch_size):
        values |= load(spec, {key: wanted[key] for key in batch}).values
    return values


def take_pooled_connections(spec: JobSpec) -> None:
    """Take this thread's connections to the databases that a job depends on, if they come from a pool."""
    pooled = {alias for alias, each in connections.settings.items() if each["OPTIONS"].get("pool")}
    if not pooled:
        return
    models: list[Any] = [dependency.model for dependency in jobs.dependencies(spec)]
    for alias in pooled & (set(map(router.db_for_read, models)) or {DEFAULT_DB_ALIAS}):
        with suppress(Error):  # the loader raises it if it needs the database
            connections[alias].ensure_connection()


def in_batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield keys in lists of a size."""
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch


def halved(batch: Batch, error: Exception) -> tuple[Batch, ...]:
    """Return the halves to load instead of a batch whose loader raised; none if that would not help."""
    if len(batch) == 1 or isinstance(error, WHOLE_BATCH):
        return ()
    items = list(batch.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


class QueryCount(ExitStack):
    """A context that counts the queries of this thread, on any database; it may be entered again."""

    queries = 0
    any_on_sqlite = False

    def __enter__(self) -> Self:
        for connection in connections.all():
            self.enter_context(connection.execute_wrapper(self))
        return super().__enter__()

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.queries += 1
        self.any_on_sqlite = self.any_on_sqlite or context["connection"].vendor == "sqlite"
        return execute(sql, params, many, context)
