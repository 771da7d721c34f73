"""Resolve recorded changes to the ids of the affected jobs.

This runs after the commit, and reads other tables in their current state. A later change of these tables has
its own record. Recorded values are never guessed: a value that cannot be read affects every key.
"""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, timedelta
from decimal import Decimal
from itertools import chain, islice
from typing import Any

from django.conf import settings
from django.db import connections, models, transaction
from django.db.models import QuerySet
from django.utils.timezone import get_default_timezone, is_aware, make_naive

from warmer.context import settings_context
from warmer.declarations.spec import JobSpec
from warmer.invalidation.records import Record
from warmer.invalidation.sources import Dependent, column_of, sources
from warmer.keys import TYPE_NAMES, Id, as_id
from warmer.report import describe

logger = logging.getLogger(__name__)

Ids = frozenset[Id] | None
"""Ids of a job. None: every key."""
Row = Mapping[str, Any]

# SQLite accepts 32,766 parameters in a statement, PostgreSQL 65,535.
_IN_LIMIT = 30_000

# Fields whose `to_python` parses the text of a column without loss.
_READABLE = (
    models.BooleanField,
    models.CharField,
    models.DateField,
    models.DateTimeField,
    models.DecimalField,
    models.DurationField,
    models.FloatField,
    models.GenericIPAddressField,
    models.IntegerField,
    models.TextField,
    models.TimeField,
    models.UUIDField,
)

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class ChangedRow:
    """A row before or after a change, with the columns that its job names in `fields`."""

    def __init__(self, values: Mapping[str, Any], pk: Any) -> None:
        self.__dict__.update(values)
        self.pk = pk

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name!r} is not recorded for changed rows: add it to fields=")


def resolve(records: Iterable[Record], *, using: str) -> dict[JobSpec, Ids]:
    """Return the ids affected by recorded changes of declared jobs, by job.

    Runs one query for each path that leads to another table. Never raises because of a record's content: a
    value that cannot be read affects every key.

    Raises:
        Error: the database does not answer.
    """
    found: list[tuple[JobSpec, Ids]] = []
    by_source: defaultdict[str, list[list[Row] | None]] = defaultdict(list)
    for record in records:
        if record.key:
            found += [(spec, _asked(spec, record)) for spec in sources().by_key[record.key]]
        else:
            by_source[record.source].append(read_rows(record))
    for name, parts in by_source.items():
        known = [part for part in parts if part is not None]
        rows = list(chain.from_iterable(known)) if len(known) == len(parts) else None
        found += [(each.spec, ids_of(each, rows, using=using)) for each in sources().by_name[name].dependents]
    ids: dict[JobSpec, Ids] = {}
    for spec, more in found:
        before = ids.get(spec, frozenset())
        ids[spec] = None if before is None or more is None else before | more
    return {spec: each for spec, each in ids.items() if each is None or each}


def _as_ids(value: Any) -> frozenset[Id]:
    """Return the ids in the value of a column or a function: one, several, or none for None."""
    value = as_id(value)
    # Iterating over an object that only has `__getitem__` may never end.
    is_collection = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    ids = frozenset(map(as_id, value if is_collection else [value])) - {None}
    for each in ids:
        if not isinstance(each, Id):
            kind = type(each).__name__
            raise TypeError(f"expected {TYPE_NAMES}, several of them, or None, not a value of type {kind}")
    return ids


def _asked(spec: JobSpec, record: Record) -> Ids:
    ids = read_rows(record)
    if ids is None or not spec.keyed:
        return None
    try:
        return _as_ids(ids)
    except TypeError as error:  # whatever another program wrote there
        _log_every_key(error, spec, "a request")
        return None


def ids_of(dependent: Dependent, rows: Sequence[Row] | None, *, using: str) -> Ids:
    """Return the ids that changed rows have given so far, or give now by a path to other tables."""
    if rows is None or not dependent.fields or not all(map(is_readable, dependent.fields)):
        return None  # the check W014 reports columns that cannot be read
    try:
        if dependent.function is not None:
            with settings_context():
                given: Iterable[Any] = [dependent.function(_changed(dependent, row)) for row in rows]
        else:
            given = {_value(dependent, row) for row in rows} - {None}
            if dependent.path:
                # PostgreSQL aborts an open transaction whose query fails, but not one before its savepoint.
                is_open = connections[using].in_atomic_block
                with transaction.atomic(using=using) if is_open else nullcontext():
                    given = set(_follow(dependent, given, using))
        return frozenset().union(*map(_as_ids, given))
    except Exception as error:  # noqa: BLE001 - a project's function, a value, or a path of another release
        _log_every_key(error, dependent.spec, f"a change of {dependent.model._meta.label}")
        return None


def _log_every_key(error: Exception, spec: JobSpec, subject: str) -> None:
    message = "The ids of %s for the job %s could not be found, so all of its keys are invalidated: %s"
    logger.error(message, subject, spec.name, describe(error))


def _value(dependent: Dependent, row: Row) -> Any:
    """Return the value of the column that determines the ids; of several columns, all values."""
    values = [_read_column(field, row) for field in dependent.fields]
    found = [tuple(value) if isinstance(value, list) else value for value in values]  # an array, to hash it
    return tuple(found) if len(found) > 1 else found[0]


def _changed(dependent: Dependent, row: Row) -> ChangedRow:
    values: dict[str, Any] = {each.attname: _read_column(each, row) for each in dependent.fields}
    pks = tuple(values[each.attname] for each in dependent.model._meta.pk_fields)
    return ChangedRow(values, pks if len(pks) > 1 else pks[0])


def _follow(dependent: Dependent, values: set[Any], using: str) -> Iterator[Any]:
    """Yield the current values at the end of the path, for the rows that the given values refer to."""
    model, column = dependent.model, "pk"
    if not dependent.from_row:
        (link,) = dependent.fields
        model, column = link.related_model, link.target_field.attname
    rest = iter(values)
    while some := list(islice(rest, _IN_LIMIT)):
        rows: QuerySet[Any] = QuerySet(model, using=using).filter(**{f"{column}__in": some})
        yield from rows.order_by().values_list(dependent.path, flat=True)


# -- reading a recorded row ---------------------------------------------------------------------------
def read_rows(record: Record) -> list[Any] | None:
    """Return the rows or ids of a record. None: every key, or the record cannot be read."""
    try:
        rows = json.loads(record.rows or "null")
    except Exception:  # noqa: BLE001 - whatever another program wrote there
        return None
    return rows if isinstance(rows, list) else None


def _read_column(field: Any, row: Row) -> Any:
    """Return the value of a recorded column, converted by the model's field; raise if it cannot be."""
    column = column_of(field)
    if column not in row:
        raise ValueError(f"{column} was not recorded")
    value = row[column]
    if value is None:
        return None
    field = _behind(field)
    if base := _base(field):
        return [_read(base, each) for each in (value if isinstance(value, list) else _elements(value))]
    return _read(field, value)


def is_readable(field: Any) -> bool:
    """Return whether the recorded values of a field can be read back."""
    field = _behind(field)
    return _kind(_base(field) or field) is not None


def _base(field: Any) -> Any:
    """Return the field of an array's elements; None: it is no array. A range has a base, too, and no size."""
    return field.base_field if hasattr(field, "base_field") and hasattr(field, "size") else None


# An element of an array as PostgreSQL shows it: in quotes, or without.
_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^{},]+)', re.DOTALL)


def _elements(text: str) -> list[str | None]:
    if not text.startswith("{"):  # as with bounds of its own
        raise ValueError(f"{text[:40]!r} is no array")
    found = _ELEMENT.findall(text)
    return [None if bare == "NULL" else bare or re.sub(r"\\(.)", r"\1", quoted) for quoted, bare in found]


def _behind(field: Any) -> Any:
    """Return the field that defines the type of a column."""
    while field.is_relation:
        field = field.target_field
    return field.output_field if field.generated else field


def _kind(field: Any) -> Any:
    # The project's own fields convert a column with `from_db_value`, as when a row is loaded.
    return next((each for each in type(field).__mro__ if each in _READABLE), None)


def _read(field: Any, text: Any) -> Any:
    if text is None:
        return None
    kind = _kind(field)
    if kind is None or not isinstance(text, str):
        raise ValueError(f"the values of {field} cannot be read back")
    if kind is models.BooleanField:
        value: Any = _BOOLEANS[text.lower()]
    elif kind is models.GenericIPAddressField:  # PostgreSQL includes the netmask
        value = kind.to_python(field, text.partition("/")[0])
    elif kind is models.DecimalField:  # SQLite stores a binary number
        digits = Decimal(1).scaleb(-field.decimal_places)
        value = kind.to_python(field, text).quantize(digits, context=field.context)
    elif kind is models.DurationField and text.lstrip("-").isdigit():
        value = timedelta(microseconds=int(text))  # as SQLite stores it
    else:
        value = kind.to_python(field, text)
    if kind is models.DateTimeField and is_aware(value) != settings.USE_TZ:
        value = value.replace(tzinfo=UTC) if settings.USE_TZ else make_naive(value, get_default_timezone())
    convert = getattr(field, "from_db_value", None)
    return value if convert is None else convert(value, None, None)
