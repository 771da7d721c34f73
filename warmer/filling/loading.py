"""Call a job's loader, and check and normalize its result."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections, router

from warmer.context import settings_context
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, LoaderError
from warmer.keys import Batch

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
    if not spec.keyed:
        value = _call(spec)
        key = spec.key.key()
        return Loaded(values={} if value is None else {key: value}, absent=(key,) if value is None else ())
    loaded = _call(spec, list(batch.values()))
    if not isinstance(loaded, Mapping):
        raise LoaderError(
            f"The loader of {spec.name!r} returned {type(loaded).__name__}: expected a mapping "
            "from each id to its value, e.g. {row['id']: row for row in rows}."
        )
    values = {key: value for key, id in batch.items() if (value := loaded.get(id)) is not None}
    if len(values) != len(loaded):  # some ids differ from the requested ones, or have no value
        given = _by_key(spec, loaded)
        values = {key: given[key] for key in batch if key in given}
    absent = () if len(values) == len(batch) else tuple(key for key in batch if key not in values)
    return Loaded(values=values, absent=absent)


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
    pooled = [alias for alias, each in connections.settings.items() if each["OPTIONS"].get("pool")]
    if not pooled:
        return
    models: list[Any] = [dependency.model for dependency in jobs.dependencies(spec)]
    needed = set(map(router.db_for_read, models)) or {DEFAULT_DB_ALIAS}
    for alias in needed.intersection(pooled):
        with suppress(Error):  # the loader raises it if it needs the database
            connections[alias].ensure_connection()


def in_batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield keys in lists of a size."""
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch


def halved(batch: Batch, error: Exception) -> tuple[Batch, ...]:
    """Return the halves to load instead of a batch whose loader raised, to narrow the failure down to one
    key.

    Returns:
        Nothing if halving does not help: the error affects the whole batch, or the batch is one key.
    """
    if len(batch) == 1 or isinstance(error, WHOLE_BATCH):
        return ()
    items = list(batch.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


class QueryCount:
    """The number of queries of this thread, on any database.

    Attributes:
        vendors: the vendors of these databases.
    """

    def __init__(self) -> None:
        self.queries = 0
        self.vendors: set[str] = set()

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.queries += 1
        self.vendors.add(context["connection"].vendor)
        return execute(sql, params, many, context)


@contextmanager
def counted_queries(count: QueryCount | None = None) -> Iterator[QueryCount]:
    """Count the queries of a block, or add them to a count."""
    count = count or QueryCount()
    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(count))
        yield count
