"""Call a job's loader, and check and arrange what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError, connections

from warmer.exceptions import LoaderError
from warmer.keys import Id
from warmer.spec import JobSpec

# What ails the whole batch, not one of its rows: asking again for each half would only ask again.
WHOLE_BATCH = (OperationalError, InterfaceError, LoaderError)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a loader gave: values by key, and the keys that have none."""

    values: Mapping[str, Any]
    absent: tuple[str, ...]


def load(spec: JobSpec, ids: Sequence[Id]) -> Loaded:
    """Load a batch (of a single job, whose `ids` are ignored: its one value).

    An id that the loader leaves out, or gives None for, has no value. Ids are matched by the key that
    they make, so that 42 and "42" are one.

    Raises:
        LoaderError: the loader returned something else than its job declares.
        Exception: whatever the loader raises.
    """
    if not spec.keyed:
        value = spec.loader()
        key = spec.key.key()
        return Loaded(values={} if value is None else {key: value}, absent=(key,) if value is None else ())
    loaded = spec.loader(list(ids))
    if not isinstance(loaded, Mapping):
        raise LoaderError(
            f"The loader of {spec.name!r} returned {type(loaded).__name__}: expected a mapping "
            "from each id to its value, e.g. {row['id']: row for row in rows}."
        )
    asked = [spec.key.key(id) for id in ids]
    given = {spec.key.key(id): value for id, value in loaded.items() if value is not None}
    return Loaded(
        values={key: given[key] for key in asked if key in given},
        absent=tuple(key for key in asked if key not in given),
    )


def halved(batch: Mapping[str, Id | None], error: Exception) -> tuple[dict[str, Id | None], ...]:
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
    """How many queries this thread made, on any database."""

    def __init__(self) -> None:
        self.queries = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.queries += 1
        return execute(sql, params, many, context)


@contextmanager
def counted_queries() -> Iterator[QueryCount]:
    """Count the queries of a block."""
    count = QueryCount()
    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(count))
        yield count
