"""Resolve recorded changes to the ids of the jobs that they concern.

This runs after the commit, and reads other tables as they are then. A later change of these tables has a
record of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import QuerySet

from warmer.context import settings_context
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation.records import Record
from warmer.invalidation.rows import ChangedRow, Row, decode, read
from warmer.invalidation.sources import Dependent, sources
from warmer.keys import Id, as_id, type_names
from warmer.report import describe

logger = logging.getLogger(__name__)

Ids = frozenset[Id] | None
"""Ids of a job. None: every key."""

_ID_TYPES = (str, int, UUID)
# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535.
_IN_LIMIT = 30_000


def resolve(records: Iterable[Record], *, using: str) -> dict[JobSpec, Ids]:
    """Return the ids that recorded changes of declared jobs concern, by job.

    A query for each path that leads to another table, and none for the rest. Never raises for what a record
    holds: what cannot be read concerns every key.

    Raises:
        Error: the database does not answer.
    """
    found: list[tuple[JobSpec, Ids]] = []
    rows: dict[str, list[Row] | None] = {}
    for record in records:
        if record.key:
            found += [(spec, _asked(spec, record)) for spec in jobs.specs() if str(spec.key) == record.key]
        else:
            _collect(rows, record)
    for name, of_source in rows.items():
        dependents = sources().by_name[name].dependents
        found += [(each.spec, _ids(each, of_source, using)) for each in dependents]
    ids: dict[JobSpec, Ids] = {}
    for spec, more in found:
        if more is None or more:
            one = ids.get(spec, frozenset())
            ids[spec] = None if one is None or more is None else one | more
    return ids


def ids_now(dependent: Dependent, record: Record, *, using: str) -> Ids:
    """Return the ids that the rows of a record give now, for rows that may not be there after the commit."""
    return _ids(dependent, None if record.rows is None else decode(record.rows), using)


def as_ids(value: Any) -> frozenset[Id]:
    """Return the ids that a column or a function gives: one, several, or none for None.

    Raises:
        TypeError: the value is neither an id nor a collection of ids.
    """
    value = as_id(value)
    if value is None:
        return frozenset()
    if isinstance(value, _ID_TYPES):
        return frozenset([value])
    # An object that only has `__getitem__` may never end.
    is_collection = isinstance(value, Iterable) and not isinstance(value, bytes)
    ids = frozenset(as_id(each) for each in (value if is_collection else [value]) if each is not None)
    for each in ids:
        if not isinstance(each, _ID_TYPES):
            kind = type(each).__name__
            raise TypeError(f"expected {type_names}, several of them, or None, not a value of type {kind}")
    return ids


def _log_every_key(error: Exception, spec: JobSpec, subject: str) -> None:
    """Log why the ids of a job could not be found. Then every key is invalidated: nothing may stay wrong."""
    logger.error(
        "The ids of %s for the job %s could not be found, so all of its keys are invalidated: %s",
        subject,
        spec.name,
        describe(error),
    )


def _asked(spec: JobSpec, record: Record) -> Ids:
    """Return the ids of a job that was asked to invalidate."""
    if record.rows is None or not spec.keyed:
        return None
    try:
        return as_ids(json.loads(record.rows))
    except (TypeError, ValueError) as error:
        _log_every_key(error, spec, str(record))
        return None


def _collect(rows: dict[str, list[Row] | None], record: Record) -> None:
    """Add the rows of a record to those of its source; None: every key."""
    known = rows.setdefault(record.source, [])
    if known is None:
        return
    try:
        if record.rows is None:
            rows[record.source] = None
        else:
            known.extend(decode(record.rows))
    except Exception:  # noqa: BLE001 - what cannot be read concerns every key
        rows[record.source] = None


def _ids(dependent: Dependent, rows: Sequence[Row] | None, using: str) -> Ids:
    if rows is None or not dependent.fields:
        return None
    try:
        if dependent.function is not None:
            with _savepoint(using), settings_context():
                given = [dependent.function(_changed(dependent, row)) for row in rows]
            return frozenset().union(*map(as_ids, given))
        values = {_value(dependent, row) for row in rows} - {None}
        if dependent.path:
            with _savepoint(using):
                values = set(_follow(dependent, values, using))
        return frozenset().union(*map(as_ids, values))
    except Exception as error:  # noqa: BLE001 - a project's function, a value, or a path of another release
        _log_every_key(error, dependent.spec, f"a change of {dependent.model._meta.label}")
        return None


def _savepoint(using: str) -> AbstractContextManager[Any]:
    """Keep a query that fails from aborting the open transaction, as it does on PostgreSQL."""
    aborts = connections[using].vendor == "postgresql" and connections[using].in_atomic_block
    return transaction.atomic(using=using) if aborts else nullcontext()


def _value(dependent: Dependent, row: Row) -> Any:
    values = tuple(_hashable(read(field, row)) for field in dependent.fields)
    return values if len(values) > 1 else values[0]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _changed(dependent: Dependent, row: Row) -> ChangedRow:
    values: dict[str, Any] = {each.attname: read(each, row) for each in dependent.fields}
    pks = tuple(values[each.attname] for each in dependent.model._meta.pk_fields)
    return ChangedRow(values, pks if len(pks) > 1 else pks[0])


def _follow(dependent: Dependent, values: set[Any], using: str) -> Iterator[Any]:
    """Yield what the rows that are meant by values have at the end of the path, as it is now."""
    model, column = dependent.model, "pk"
    if not dependent.from_row:
        (link,) = dependent.fields
        model, column = link.related_model, link.target_field.attname
    rest = iter(values)
    while some := list(islice(rest, _IN_LIMIT)):
        rows: QuerySet[Any] = QuerySet(model, using=using).filter(**{f"{column}__in": some})
        yield from rows.values_list(dependent.path, flat=True)
