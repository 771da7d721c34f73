"""What a change writes to a row's columns, as far as that can be told before it is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Field, Model, Q, Value, When
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import CombinedExpression, ExpressionWrapper
from django.db.models.functions import Cast, Coalesce, Concat, Lower, Upper
from django.db.models.functions.text import ConcatPair

# Expressions whose value follows from the row alone: what the query reads is what the update writes.
_OF_THE_ROW = (
    Case,
    Cast,
    Coalesce,
    CombinedExpression,
    Concat,
    ConcatPair,
    ExpressionWrapper,
    Lower,
    Upper,
    When,
)

# Constants that a query passes on as they are; what a column of its own type does to others, only it knows.
_CONSTANTS = (str, int, float, Decimal, date, time, timedelta, UUID, NoneType)


class Unknown:
    """A value that cannot be told before it is written."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A value that the database tells for each row."""

    expression: Any


NewValues = Mapping[str, Any]
"""Attribute -> its new value, or `Computed`, or `UNKNOWN`."""


def new_value(column: Field[Any, Any], value: Any, *, annotations: Collection[str] = ()) -> Any:
    """Return what an assignment writes to a column, as far as it can be told.

    Args:
        annotations: names that an expression may use and that are no columns.
    """
    target: Any = column
    while target.is_relation:
        target = target.target_field
    if isinstance(value, Value):
        value = value.value
    if hasattr(value, "resolve_expression"):
        if _is_of_the_row(value, annotations):
            return Computed(expression=Cast(value, output_field=target))
        return UNKNOWN
    if isinstance(value, Model):
        if not column.is_relation:
            return UNKNOWN
        value = value.prepare_database_save(column)
    try:
        return target.to_python(target.get_prep_value(value))
    except Exception:  # noqa: BLE001 - the update itself will say what is wrong
        return UNKNOWN


def _is_of_the_row(expression: Any, annotations: Collection[str]) -> bool:
    """Say whether an expression reads nothing but the row that it is written to, and constants."""
    if isinstance(expression, Q):
        # What a lookup compares with; the field that it names is checked by the update itself.
        children: list[Any] = list(expression.children)
        parts = [child[1] if isinstance(child, tuple) else child for child in children]
        parts = [part for part in parts if hasattr(part, "resolve_expression")]
    elif type(expression) is Value:
        return isinstance(expression.value, _CONSTANTS)
    elif expression is None:
        return True
    elif type(expression) is F:
        name = expression.name  # type: ignore[attr-defined]
        return LOOKUP_SEP not in name and name not in annotations
    elif type(expression) in _OF_THE_ROW:
        parts = expression.get_source_expressions()
    else:
        return False
    return all(_is_of_the_row(part, annotations) for part in parts)
