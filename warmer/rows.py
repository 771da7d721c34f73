"""Rows that one statement touches: what they give to every job that they concern, in one query.

A change without signals may move many rows from one id to another. What they give before it is read; what
they give after it follows from the new values, where these are known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections
from django.db.models import Case, F, Field, Model, Q, QuerySet, Value, When
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import CombinedExpression, ExpressionWrapper
from django.db.models.functions import Cast, Coalesce, Concat, Lower, Upper
from django.db.models.functions.text import ConcatPair

from warmer.changes import EVERY_KEY, EveryKey, Ids, all_after, as_ids, attname_of
from warmer.keys import Id
from warmer.registry import Concern

T = TypeVar("T")

# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535.
IN_LIMIT = 30_000

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

NewOf = Callable[[Mapping[str, Any]], Sequence[NewValues]]
"""A row's columns -> the new values that it gets, one after the other."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was read of rows.

    Attributes:
        pks: their primary keys.
        found: the ids that they give, before the change and after it.
        also: the values of the columns that were asked for besides.
    """

    pks: set[Any]
    found: list[tuple[Concern, Ids]]
    also: set[tuple[Any, ...]]


def is_local(concern: Concern, model: type[Model]) -> bool:
    """Say whether a job's ids are in a column of the row itself."""
    source = concern.dependency.ids
    if not isinstance(source, str) or LOOKUP_SEP in source:
        return False
    return attname_of(model, source) in {each.attname for each in model._meta.concrete_fields}


def is_moved_by(concern: Concern, model: type[Model], attnames: Collection[str]) -> bool:
    """Say whether new values of these columns can change the ids that a row gives."""
    source = concern.dependency.ids
    if source is None:
        return False
    if callable(source):
        return bool(attnames)
    return attname_of(model, source.split(LOOKUP_SEP)[0]) in attnames


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


def look(
    rows: QuerySet[Any],
    concerns: Sequence[Concern],
    *,
    new: NewValues | None = None,
    new_of: NewOf | None = None,
    lock: bool = False,
    also: Sequence[str] = (),
) -> Seen:
    """Read what rows give to jobs: one query, in which rows are locked if asked for.

    Args:
        rows: plain rows of a model: neither sliced, grouped nor distinct.
        concerns: the jobs.
        new: the values that the change will write, the same for all rows.
        new_of: tells those of a row by the columns that were asked for.
        lock: keep the rows from being changed until the transaction ends, where the database can.
        also: columns whose values are wanted too.
    """
    model = rows.model
    plan = _Plan(model=model, concerns=concerns, new=new or {}, new_of=new_of)
    return plan.read(_locked(rows, plan) if lock else rows, also)


def by_pk(model: type[Model], pks: Iterable[Any], using: str) -> QuerySet[Any]:
    """Return the rows with these primary keys, whatever a manager would leave out."""
    return QuerySet(model, using=using).filter(pk__in=list(pks))


def chunks(items: Iterable[T], size: int) -> Iterable[list[T]]:
    """Return the items in lists of a size."""
    listed = list(items)
    return (listed[at : at + size] for at in range(0, len(listed), size))


@dataclass(kw_only=True)
class _Plan:
    """How to read what the jobs need: which paths, which new values, and whether whole rows."""

    model: type[Model]
    concerns: Sequence[Concern]
    new: NewValues
    new_of: NewOf | None
    found: dict[Concern, set[Id] | EveryKey] = field(default_factory=dict)

    @property
    def needs_instances(self) -> bool:
        """Whether a function wants to see the row."""
        return any(callable(concern.dependency.ids) for concern in self.concerns)

    @property
    def far(self) -> list[Concern]:
        """The jobs whose ids are in other tables."""
        return [
            concern
            for concern in self.concerns
            if isinstance(concern.dependency.ids, str) and not is_local(concern, self.model)
        ]

    @property
    def needs_joins(self) -> bool:
        return bool(self.far)

    def read(self, rows: QuerySet[Any], also: Sequence[str]) -> Seen:
        paths = {concern: f"_warmer_old_{number}" for number, concern in enumerate(self.far)}
        computed = {
            name: f"_warmer_new_{number}"
            for number, (name, value) in enumerate(self.new.items())
            if isinstance(value, Computed)
        }
        rows = rows.annotate(
            **{alias: F(str(concern.dependency.ids)) for concern, alias in paths.items()},
            **{alias: self.new[name].expression for name, alias in computed.items()},
        )
        aliases = [*paths.values(), *computed.values()]
        pks, others = set(), set()
        pk: Any = self.model._meta.pk
        for values, instance in self._rows(rows, aliases, also):
            pks.add(values[pk.attname])
            others.add(tuple(values[name] for name in also))
            told = {name: values[alias] for name, alias in computed.items()}
            news = [{**self.new, **told}] if self.new_of is None else self.new_of(values)
            for new in news:
                self._take(values, instance, paths, new)
        return Seen(
            pks=pks,
            found=[
                (concern, each if isinstance(each, EveryKey) else frozenset(each))
                for concern, each in self.found.items()
            ],
            also=others,
        )

    def _rows(
        self, rows: QuerySet[Any], aliases: Sequence[str], also: Sequence[str]
    ) -> Iterable[tuple[Mapping[str, Any], Model | None]]:
        """Return each row's values by name; with joins a row may come more than once."""
        columns = {
            attname_of(self.model, str(c.dependency.ids)) for c in self.concerns if is_local(c, self.model)
        }
        names = [*({self.model._meta.pk.attname, *columns, *also}), *aliases]
        if self.needs_instances or self.needs_joins:
            # Instances, because Django locks the rows of one table alone only where it makes instances.
            if not self.needs_instances and not self.model._meta.parents:
                rows = rows.only(*(name for name in names if name not in aliases))
            return [({name: getattr(row, name) for name in names}, row) for row in rows]
        return [(dict(zip(names, row, strict=True)), None) for row in rows.values_list(*names)]

    def _take(
        self,
        values: Mapping[str, Any],
        instance: Model | None,
        paths: Mapping[Concern, str],
        new: NewValues,
    ) -> None:
        functions = []
        for concern in self.concerns:
            source = concern.dependency.ids
            if source is None:
                self._add(concern, EVERY_KEY)
            elif callable(source):
                functions.append((concern, source))
            elif concern in paths:
                self._add(concern, as_ids(values[paths[concern]]))
                if is_moved_by(concern, self.model, new):
                    self._add(concern, EVERY_KEY)
            else:
                name = attname_of(self.model, source)
                self._add(concern, as_ids(values[name]))
                if name in new:
                    self._add(concern, EVERY_KEY if new[name] is UNKNOWN else as_ids(new[name]))
        if instance is not None:
            self._ask(functions, instance, new)

    def _ask(
        self, functions: Sequence[tuple[Concern, Callable[[Any], Any]]], row: Model, new: NewValues
    ) -> None:
        """Have functions tell the ids of a row as it is, and as it will be."""
        for concern, source in functions:
            self._add(concern, _call(concern, source, row))
        if not new:
            return
        if UNKNOWN in new.values():
            for concern, _ in functions:
                self._add(concern, EVERY_KEY)
            return
        for name, value in new.items():
            setattr(row, name, value)
        for concern, source in functions:
            self._add(concern, _call(concern, source, row))

    def _add(self, concern: Concern, ids: Ids) -> None:
        known = self.found.setdefault(concern, set())
        if isinstance(known, EveryKey):
            return
        if isinstance(ids, EveryKey):
            self.found[concern] = EVERY_KEY
        else:
            known.update(ids)


def _locked(rows: QuerySet[Any], plan: _Plan) -> QuerySet[Any]:
    """Lock what an update would lock: the rows of the model's own tables."""
    features = connections[rows.db].features
    if not features.has_select_for_update:
        return rows
    of: tuple[str, ...] = ()
    if plan.needs_joins and features.has_select_for_update_of:
        of = ("self", *_parent_links(plan.model))
    return rows.select_for_update(of=of, no_key=features.has_select_for_no_key_update)


def _parent_links(model: type[Model], before: str = "") -> list[str]:
    links = []
    for parent, link in model._meta.concrete_model._meta.parents.items():  # type: ignore[union-attr]
        if link is not None:
            path = f"{before}{link.name}"
            links += [path, *_parent_links(parent, f"{path}{LOOKUP_SEP}")]
    return links


def _call(concern: Concern, source: Callable[[Any], Any], row: Model) -> Ids:
    try:
        return as_ids(source(row))
    except Exception as error:  # noqa: BLE001 - a project's own function
        return all_after(error, concern, row)


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
