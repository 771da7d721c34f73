"""Recorded rows: how a row's columns are written into a record, and read back from it.

Every value is recorded as the text that the database shows for it, in every kind of record, so that
nothing is lost to JSON's numbers. Reading never guesses: what it cannot read raises `Unreadable`, and the
change then concerns every key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.dateparse import parse_datetime
from django.utils.timezone import get_default_timezone, make_naive

from warmer.keys import plain

Row = Mapping[str, Any]

# Fields whose `to_python` reads the text of a column without loss.
_READABLE = (
    models.AutoField,
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


class Unreadable(Exception):
    """A recorded value cannot be read back, or was not recorded."""


class ChangedRow:
    """A row as it was before a change or is after it, with the columns that its job names in `fields`."""

    def __init__(self, values: Mapping[str, Any], pk: Any) -> None:
        self.__dict__.update(values)
        self.pk = pk

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name!r} is not recorded of a changed row: name it in fields=")

    def __repr__(self) -> str:
        return f"<ChangedRow {self.pk}>"


def encode(rows: Iterable[Row]) -> str:
    """Return rows, each with prepared values by column, as a record holds them."""
    return json.dumps([{column: _text(value) for column, value in row.items()} for row in rows])


def decode(text: str) -> list[dict[str, Any]]:
    """Return the rows of a record, with their values as text.

    Raises:
        ValueError: the record is no JSON.
        Unreadable: it holds no rows.
    """
    rows = json.loads(text)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unreadable("the record holds no rows")
    return rows


def value_of(field: Any, instance: models.Model) -> Any:
    """Return an instance's value of a field as the database gets it.

    Raises:
        Exception: the field refuses the value.
    """
    value = plain(getattr(instance, field.attname))
    return None if value is None else field.get_prep_value(field.to_python(value))


def read(field: Any, row: Row) -> Any:
    """Return the value of a recorded column as the model's field has it.

    Raises:
        Unreadable: it was not recorded, or cannot be read back.
    """
    if field.column not in row:
        raise Unreadable(f"{field.column} was not recorded")
    value = row[field.column]
    if value is None:
        return None
    field = _behind(field)
    base = getattr(field, "base_field", None)
    if base is not None and isinstance(value, list):
        return [_read(base, each) for each in value]
    return _read(field, value)


def is_readable(field: Any) -> bool:
    """Return whether the recorded values of a field can be read back."""
    field = _behind(field)
    return _kind(getattr(field, "base_field", None) or field) is not None


def _behind(field: Any) -> Any:
    """Return the field that says what is in a column."""
    while field.is_relation:
        field = field.target_field
    return field.output_field if field.generated else field


def _kind(field: Any) -> Any:
    # What a field of the project's own makes of a column is up to its `from_db_value`, as when it is loaded.
    return next((each for each in type(field).__mro__ if each in _READABLE), None)


def _read(field: Any, text: Any) -> Any:
    if text is None:
        return None
    kind = _kind(field)
    if kind is None or not isinstance(text, str):
        raise Unreadable(f"the values of {field} cannot be read back")
    convert = getattr(field, "from_db_value", None)
    try:
        if kind is models.BooleanField:
            value: Any = _BOOLEANS[text.lower()]
        elif kind is models.DateTimeField:
            value = _moment(text)
        elif kind is models.GenericIPAddressField:  # PostgreSQL shows the size of the network, too
            value = kind.to_python(field, text.partition("/")[0])
        elif kind is models.DecimalField:  # SQLite keeps a binary number
            value = kind.to_python(field, text).quantize(
                Decimal(1).scaleb(-field.decimal_places), context=field.context
            )
        elif kind is models.DurationField and text.lstrip("-").isdigit():
            value = timedelta(microseconds=int(text))  # as SQLite keeps it
        else:
            value = kind.to_python(field, text)
        return value if convert is None else convert(value, None, None)
    except Exception as error:
        raise Unreadable(f"{text[:40]!r} is no value of {field}") from error


def _moment(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None:
        raise ValueError(text)
    if settings.USE_TZ:
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return make_naive(moment, get_default_timezone()) if moment.tzinfo else moment


def _text(value: Any) -> Any:
    value = plain(value)
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [_text(each) for each in value]
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    return str(value)
