"""Call a job's loader, and check and arrange what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections, router

from warmer.context import settings_context
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, LoaderError
from warmer.keys import Batch, Id

# What ails the whole batch, not one of its rows: asking again for each half would only ask again.
WHOLE_BATCH = (OperationalError, InterfaceError, LoaderError)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a loader gave: values by key, and the keys that have none."""

    values: Mapping[str, Any]
    absent: tuple[str, ...]


@settings_context()
def load(spec: JobSpec, batch: Batch) -> Loaded:
    """Load a batch, in the language and time zone of the settings.

    An id that the loader leaves out, or gives None for, has no value. Ids are matched by the key that
    they make, so that 42 and "42" are one. What nobody asked for is left out.

    Raises:
        LoaderError: the loader returned something else than its job declares.
        InvalidId: nothing that it gave belongs to an id that can be part of a key.
        Exception: whatever the loader raises.
    """
    if not spec.keyed:
        value = spec.loader()
        key = spec.key.key()
        return Loaded(values={} if value is None else {key: value}, absent=(key,) if value is None else ())
    loaded = spec.loader(list(batch.values()))
    if not isinstance(loaded, Mapping):
        raise LoaderError(
            f"The loader of {spec.name!r} returned {type(loaded).__name__}: expected a mapping "
            "from each id to its value, e.g. {row['id']: row for row in rows}."
        )
    values = {key: value for key, id in batch.items() if (value := loaded.get(id)) is not None}
    if len(values) != len(loaded):  # some ids are not as they were asked for, or have no value
        given = _by_key(spec, loaded)
        values = {key: given[key] for key in batch if key in given}
    absent = () if len(values) == len(batch) else tuple(key for key in batch if key not in values)
    return Loaded(values=values, absent=absent)


def _by_key(spec: JobSpec, loaded: Mapping[Any, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    odd: InvalidId | None = None
    for id, value in loaded.items():
        if value is not None:
            try:
                given[spec.key.key(id)] = value
            except InvalidId as error:  # one row too many, which costs no other its value
                odd = error
    if odd is not None and not given:
        raise odd
    return given


def load_past_the_cache(spec: JobSpec, wanted: Mapping[str, Id | None]) -> dict[str, Any]:
    """Load keys, batch by batch, and store nothing."""
    values: dict[str, Any] = {}
    for batch in in_batches(wanted, spec.batch_size):
        values |= load(spec, {key: wanted[key] for key in batch}).values
    return values


def take_pooled_connections(spec: JobSpec) -> None:
    """Take this thread's connections to the databases that a job depends on, where they come from a pool."""
    pooled = [alias for alias, each in connections.settings.items() if each["OPTIONS"].get("pool")]
    if not pooled:
        return
    models: list[Any] = [dependency.model for dependency in jobs.dependencies(spec)]
    needed = set(map(router.db_for_read, models)) or {DEFAULT_DB_ALIAS}
    for alias in needed.intersection(pooled):
        with suppress(Error):  # the loader raises it, if it needs the database
            connections[alias].ensure_connection()


def in_batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield keys in lists of a size."""
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch


def halved(batch: Batch, error: Exception) -> tuple[Batch, ...]:
    """Return the halves to ask for instead of a batch whose loader raised, until what fails is one key.

    Returns:
        Nothing when halving does not help: the error ails the whole batch, or the batch is one key.
    """
    if len(batch) == 1 or isinstance(error, WHOLE_BATCH):
        return ()
    items = list(batch.items())
    middle = len(items) // 2
    return dict(items[:middle]), dict(items[middle:])


class QueryCount:
    """How many queries this thread made, on any database.

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
