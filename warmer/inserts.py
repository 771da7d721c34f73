"""Rows that are inserted at once, and the rows that they meet: which ids they give."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from django.core.exceptions import FieldDoesNotExist
from django.db import connections
from django.db.models import Model, QuerySet

from warmer.changes import (
    EVERY_KEY,
    IN_LIMIT,
    EveryKey,
    Ids,
    attname_of,
    by_pk,
    ids_in_memory,
    is_local,
    is_moved_by,
    is_partly_computed,
)
from warmer.far_rows import Elsewhere
from warmer.keys import Id
from warmer.new_values import UNKNOWN, Computed, NewValues, new_value
from warmer.registry import Concern
from warmer.rows import Seen, look

Found = list[tuple[Concern, Ids]]


@dataclass(kw_only=True)
class Insert:
    """One `bulk_create`: call `look_before` it, and `found` after it, in one transaction.

    What the objects in memory say is enough for new rows. A row that was there already keeps what the
    insert does not write, so it is read: after the insert, or before it when it moves. That is one query.
    Where it cannot be told which rows were met, all keys go.
    """

    model: type[Model]
    using: str
    concerns: Sequence[Concern]
    objs: Sequence[Model]
    on_conflict: Literal["fail", "ignore", "update"]
    update_fields: Collection[str]
    unique_fields: Collection[str]
    _before: Seen | None = field(default=None, init=False)
    _had_pk: bool = field(default=False, init=False)

    def look_before(self) -> None:
        """Read the rows that the insert is going to change, if it may move them to other ids."""
        self._had_pk = any(obj.pk is not None for obj in self.objs)
        if not self._moves or not self._unique:
            return
        rows = self._meeting(self._unique)
        if rows is not None:
            self._before = look(rows, self._with_ids, new_of=self._new_of, lock=True, also=self._unique)

    def found(self) -> tuple[Found, list[Elsewhere]]:
        """Return the ids that the rows give now, and gave before; and whom to ask again at the commit."""
        found: Found = [(concern, EVERY_KEY) for concern in self.concerns if concern.dependency.ids is None]
        if self._moves:
            return found + self._of_moved(), []
        unanswered = []
        for concern in self._with_ids:
            if self._is_in_memory(concern):
                found.append((concern, ids_of(concern, self.objs)))
            else:
                unanswered.append(concern)
        read, again = self._read(unanswered)
        return found + read, again

    @cached_property
    def _with_ids(self) -> list[Concern]:
        return [concern for concern in self.concerns if concern.dependency.ids is not None]

    @cached_property
    def _written(self) -> list[str]:
        """The columns that rows in conflict get from the insert."""
        return self._attnames(self.update_fields) if self.on_conflict == "update" else []

    @cached_property
    def _moves(self) -> bool:
        return any(is_moved_by(concern, self.model, self._written) for concern in self._with_ids)

    @cached_property
    def _unique(self) -> list[str]:
        """Columns by which the rows can be found again."""
        if self.on_conflict == "update":
            return self._attnames(self.unique_fields)
        return next((names for names in _unique_sets(self.model) if None not in self._values(names)), [])

    def _attnames(self, names: Iterable[str]) -> list[str]:
        try:
            return [
                self.model._meta.get_field(attname_of(self.model, name)).attname  # type: ignore[union-attr]
                for name in names
            ]
        except (FieldDoesNotExist, AttributeError):
            return []  # Django will say so

    def _values(self, names: Sequence[str]) -> set[tuple[Any, ...] | None]:
        """Return the objects' values of columns; among them None where one is not known."""
        return {
            None if any(map(_is_unknown, values)) else values
            for values in (tuple(getattr(obj, name) for name in names) for obj in self.objs)
        }

    def _is_in_memory(self, concern: Concern) -> bool:
        """Say whether the objects tell the ids of all rows that the insert wrote."""
        name = self._column(concern)
        if name is None:
            return self.on_conflict != "update" and self._is_told_to_function(concern)
        if name == self._pk:
            return self._knows_pks
        if self.on_conflict == "update" and name not in self._unique:
            return False  # a row that was met keeps its own
        return self._is_told(name)

    def _is_told(self, name: str) -> bool:
        return not any(hasattr(getattr(obj, name), "resolve_expression") for obj in self.objs)

    def _is_told_to_function(self, concern: Concern) -> bool:
        knows = callable(concern.dependency.ids) and self._knows_pks
        return knows and not any(map(is_partly_computed, self.objs))

    def _column(self, concern: Concern) -> str | None:
        """Return the column of the row that has the ids; None where they come from elsewhere."""
        source = concern.dependency.ids
        return attname_of(self.model, str(source)) if is_local(concern, self.model) else None

    @cached_property
    def _pk(self) -> str:
        pk: Any = self.model._meta.pk
        return str(pk.attname)

    @property
    def _knows_pks(self) -> bool:
        """Whether the objects have the primary keys of the rows. Known after the insert."""
        if any(_is_unknown(obj.pk) for obj in self.objs):
            return False
        # Django leaves a key that was given, also where the row that was met has another.
        return self.on_conflict != "update" or not self._had_pk or self._unique == [self._pk]

    def _read(self, concerns: Sequence[Concern]) -> tuple[Found, list[Elsewhere]]:
        """Read from the database what is not in memory: one query."""
        if not concerns:
            return [], []
        rows: QuerySet[Any] | None = None
        if self._knows_pks:
            if len(self.objs) <= IN_LIMIT:
                rows = by_pk(self.model, [obj.pk for obj in self.objs], self.using)
        elif self._unique:
            rows = self._meeting(self._unique)
        if rows is None:
            return [(concern, EVERY_KEY) for concern in concerns], []
        seen = look(rows, concerns)
        return seen.found, seen.again

    def _meeting(self, names: Sequence[str]) -> QuerySet[Any] | None:
        """Return the rows that have the objects' values of unique columns, and perhaps some more."""
        values = self._values(names)
        if None in values or len(values) * len(names) > IN_LIMIT:
            return None
        lookup = {
            f"{name}__in": list({row[number] for row in values if row}) for number, name in enumerate(names)
        }
        return QuerySet(self.model, using=self.using).filter(**lookup)

    def _new_of(self, values: Mapping[str, Any]) -> Sequence[NewValues]:
        return self._news.get(tuple(values[name] for name in self._unique), ({},))

    @cached_property
    def _news(self) -> dict[tuple[Any, ...], list[NewValues]]:
        news: dict[tuple[Any, ...], list[NewValues]] = {}
        columns = [self.model._meta.get_field(name) for name in self._written]
        for obj in self.objs:
            key = tuple(getattr(obj, name) for name in self._unique)
            news.setdefault(key, []).append(values_to_write(obj, columns))
        return news

    def _of_moved(self) -> Found:
        """Return what rows gave before, from the database, and what they give now, from memory."""
        before = self._before
        certain = before is not None and self._is_certain(before)
        found: Found = []
        for concern in self._with_ids:
            name = self._column(concern)
            if name == self._pk:
                told = self._knows_pks
            elif name is not None:
                told = certain and self._is_told(name)
            else:
                told = certain and self._is_told_to_function(concern)
            found.append((concern, ids_of(concern, self.objs) if told else EVERY_KEY))
        return found + (before.found if before is not None else [])

    def _is_certain(self, before: Seen) -> bool:
        """Say whether every row that the insert met was seen before it.

        A row that was not there could not be locked: another transaction may have inserted it since.
        SQLite has one writer at a time.
        """
        return connections[self.using].vendor == "sqlite" or self._values(self._unique) <= before.also


def ids_of(concern: Concern, objs: Iterable[Model]) -> Ids:
    """Return the ids that objects give, as they stand in memory."""
    collected: set[Id] = set()
    for obj in objs:
        ids = ids_in_memory(concern, obj)
        if isinstance(ids, EveryKey):
            return EVERY_KEY
        collected |= ids
    return frozenset(collected)


def values_to_write(obj: Model, columns: Iterable[Any]) -> NewValues:
    """Return what an object writes to columns; a value that the database computes is not known."""
    written = {}
    for column in columns:
        value = new_value(column, getattr(obj, column.attname))
        written[column.attname] = UNKNOWN if isinstance(value, Computed) else value
    return written


def _is_unknown(value: Any) -> bool:
    return value is None or hasattr(value, "resolve_expression")


def _unique_sets(model: type[Model]) -> Iterable[list[str]]:
    """Return the sets of columns of which no two rows have the same values."""
    for column in model._meta.concrete_fields:
        if column.unique and not column.primary_key:
            yield [column.attname]
    for constraint in model._meta.total_unique_constraints:
        yield [attname_of(model, name) for name in constraint.fields]
    for names in model._meta.unique_together:
        yield [attname_of(model, name) for name in names]
