"""From recorded changes to the ids of the jobs that they concern.

It runs after the commit. What stands in other tables is read as it is then: whoever changes those tables
later records a change of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import connections, transaction
from django.db.models import QuerySet

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation.ids import EVERY_KEY, NO_IDS, EveryKey, Ids, as_ids, both, every_key_after
from warmer.invalidation.records import Record
from warmer.invalidation.rows import ChangedRow, Row, decode, encode, read
from warmer.invalidation.sources import Dependent, sources

# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535.
_IN_LIMIT = 30_000


@dataclass(kw_only=True)
class Resolved:
    """What some records ask for.

    Attributes:
        ids: what to invalidate, by job.
        known: the records that this process knows the meaning of. Others are not its to mark.
    """

    ids: dict[JobSpec, Ids] = field(default_factory=dict)
    known: list[Record] = field(default_factory=list)

    def add(self, spec: JobSpec, ids: Ids) -> None:
        """Add ids of a job."""
        if ids:
            self.ids[spec] = both(self.ids.get(spec, NO_IDS), ids)


def resolve(records: Iterable[Record], *, using: str) -> Resolved:
    """Return the ids that recorded changes concern, by job.

    A query for each path that leads to another table, and none for the rest. Never raises for what a record
    holds: what cannot be read concerns every key.

    Raises:
        Error: the database does not answer.
    """
    resolved = Resolved()
    rows: dict[str, list[Row] | None] = {}
    for record in records:
        if record.key:
            is_known = _ask(resolved, record)
        else:
            is_known = record.source in sources().by_name
            if is_known:
                _collect(rows, record)
        if is_known:
            resolved.known.append(record)
    for name, of_source in rows.items():
        source = sources().by_name[name]
        for dependent in source.dependents:
            resolved.add(dependent.spec, _ids(dependent, of_source, using))
    resolved.ids = {spec: _bounded(spec, ids) for spec, ids in resolved.ids.items()}
    return resolved


def ids_now(dependent: Dependent, rows: Iterable[Row], *, using: str) -> Ids:
    """Return the ids that rows give now, for those that may not be there after the commit."""
    return _ids(dependent, decode(encode(rows)), using)


def _ask(resolved: Resolved, record: Record) -> bool:
    """Add what was asked of a job; return whether there is such a job."""
    specs = [spec for spec in jobs.specs() if str(spec.key) == record.key]
    for spec in specs:
        try:
            asked = None if record.rows is None else json.loads(record.rows)
            ids = EVERY_KEY if asked is None or not spec.keyed else as_ids(asked)
        except (TypeError, ValueError) as error:
            ids = every_key_after(error, spec, str(record))
        resolved.add(spec, ids)
    return bool(specs)


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
    if rows is None or dependent.concerns_every_key:
        return EVERY_KEY
    if dependent.whole:
        return NO_IDS  # the function was called with the instance, and its ids were recorded
    try:
        if dependent.function is not None:
            with _savepoint(using):
                given = [dependent.function(_changed(dependent, row)) for row in rows]
            return frozenset().union(*map(as_ids, given))
        values = {_value(dependent, row) for row in rows} - {None}
        if dependent.path:
            with _savepoint(using):
                values = set(_follow(dependent, values, using))
        return frozenset().union(*map(as_ids, values))
    except Exception as error:  # noqa: BLE001 - a project's function, a value, or a path of another release
        return every_key_after(error, dependent.spec, f"a change of {dependent.model._meta.label}")


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
    values: dict[str, Any] = {}
    for each in dependent.fields:
        values[each.attname] = read(each, row)
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


def _bounded(spec: JobSpec, ids: Ids) -> Ids:
    """Return every key for ids that are too many: all in one step would hold up the cache server.

    A cache that cannot list the job's keys would not find them again, so there the ids stay.
    """
    if isinstance(ids, EveryKey) or len(ids) <= 1 or not spec.keyed:
        return ids
    return EVERY_KEY if len(ids) > conf.FENCE_RECORDS and spec.store.lists_keys else ids
