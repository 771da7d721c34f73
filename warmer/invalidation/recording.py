"""Changes that this process records itself: those that signals tell of, and those that were asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import Error, connections, transaction
from django.db.models import Model, QuerySet

from warmer.declarations.spec import JobSpec
from warmer.invalidation import records
from warmer.invalidation.apply import apply_unrecorded
from warmer.invalidation.ids import EVERY_KEY, EveryKey, Ids, as_ids, every_key_after
from warmer.invalidation.records import Record
from warmer.invalidation.rows import Row, encode, value_of
from warmer.invalidation.sources import Dependent, Source
from warmer.invalidation.transactions import watcher
from warmer.keys import plain


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change to record: of rows of a source, or of ids of a job.

    Attributes:
        source: the name of the source, or else
        spec: the job.
        rows: the rows as they were and as they are, by column. None: every key.
        ids: what a column or a function gives, or every key.
    """

    source: str = ""
    spec: JobSpec | None = None
    rows: Sequence[Row] | None = None
    ids: Any = ()


def record(changes: Iterable[Change], *, using: str) -> None:
    """Record changes, to be applied when the open transaction commits; at once where there is none.

    Raises:
        Error: the database refuses the records; a transaction cannot go on then.
    """
    found = [each for change in changes if (each := _record_of(change)) is not None]
    if not found:
        return
    connection = connections[using]
    if not connection.in_atomic_block and connection.get_autocommit():
        apply_unrecorded(found, using=using)
        return
    watcher(using).expect(changed=[each.source or each.key for each in found])
    if records.are_kept(using):
        records.write(found, using=using)
    elif connection.in_atomic_block:
        transaction.on_commit(lambda: apply_unrecorded(found, using=using), using=using, robust=True)
    else:
        apply_unrecorded(found, using=using)


def rows_of(source: Source, rows: QuerySet[Any] | Iterable[Model]) -> Iterator[Row]:
    """Yield the recorded columns of rows: of a queryset by one query, of instances from memory."""
    if isinstance(rows, QuerySet):
        if not source.fields:
            yield {}
            return
        for values in rows.order_by().values(*(field.attname for field in source.fields)):
            yield {field.column: _prepared(field, values[field.attname]) for field in source.fields}
        return
    for row in rows:
        yield {field.column: value_of(field, row) for field in source.fields}


def ids_of_functions(found: Iterable[Source], rows: Iterable[Any]) -> list[Change]:
    """Return what functions that want whole instances give for rows; every key where one fails."""
    wanted = [each for source in found for each in source.dependents if each.whole]
    instances = list(rows) if wanted else []
    return [Change(spec=each.spec, ids=_given(each, instances)) for each in wanted]


def _given(dependent: Dependent, instances: Iterable[Any]) -> Any:
    assert dependent.function is not None
    try:
        return [dependent.function(row) for row in instances]
    except Error:
        raise
    except Exception as error:  # noqa: BLE001 - a project's function
        return every_key_after(error, dependent.spec, f"a change of {dependent.model._meta.label}")


def _prepared(field: Any, value: Any) -> Any:
    return None if value is None else field.get_prep_value(plain(value))


def _record_of(change: Change) -> Record | None:
    if change.spec is None:
        if change.rows is None:
            return Record(source=change.source)
        if not change.rows:
            return None
        return Record(source=change.source, rows=encode({repr(row): row for row in change.rows}.values()))
    ids = _ids(change.spec, change.ids)
    if isinstance(ids, EveryKey) or not change.spec.keyed:
        return Record(key=str(change.spec.key))
    return Record(key=str(change.spec.key), rows=encode_ids(ids)) if ids else None


def _ids(spec: JobSpec, given: Any) -> Ids:
    if isinstance(given, EveryKey):
        return EVERY_KEY
    try:
        if isinstance(given, list):  # what a function gave for each of several rows
            return frozenset().union(*map(as_ids, given))
        return as_ids(given)
    except TypeError as error:
        return every_key_after(error, spec, f"a change that concerns {spec.name}")


def encode_ids(ids: Iterable[Any]) -> str:
    """Return ids as a record of what was asked holds them."""
    return json.dumps([each if isinstance(each, int | str) else str(each) for each in map(plain, ids)])
