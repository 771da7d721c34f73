"""Rows that one statement touches: what they give to every job that they concern, in one query.

A change without signals may move many rows from one id to another. What they give before it is read; what
they give after it follows from the new values, where these are known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db import connections
from django.db.models import F, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP

from warmer.changes import (
    EVERY_KEY,
    EveryKey,
    Ids,
    attname_of,
    ids_in_memory,
    ids_told,
    is_far,
    is_local,
    is_moved_by,
    is_partly_computed,
)
from warmer.far_rows import Elsewhere, elsewhere, link_of, referred
from warmer.keys import Id
from warmer.new_values import UNKNOWN, Computed, NewValues
from warmer.registry import Concern

NewOf = Callable[[Mapping[str, Any]], Sequence[NewValues]]
"""A row's columns -> the new values that it gets, one after the other."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was read of rows.

    Attributes:
        pks: their primary keys.
        found: the ids that they give, before the change and after it.
        again: rows to be asked once more at the commit, where those that were read stay: they themselves,
            and what they refer to no longer.
        referred: the same where they are gone by then: what they refer to.
        also: the values of the columns that were asked for besides.
    """

    pks: set[Any]
    found: list[tuple[Concern, Ids]]
    again: list[Elsewhere]
    referred: list[Elsewhere]
    also: set[tuple[Any, ...]]


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
        lock: keep the rows from being changed until the transaction ends, where there is one and the
            database can.
        also: columns whose values are wanted too.
    """
    plan = _Plan(model=rows.model, concerns=concerns, new=new or {}, new_of=new_of)
    return plan.read(_locked(rows, joined=bool(plan.far)) if lock else rows, also)


def hold_off(referred: QuerySet[Any]) -> None:
    """Keep others from writing rows that refer to these until the transaction ends, where the database can.

    A row that refers to another locks that against its deletion, and waits for who has locked it so.
    """
    if _can_lock(referred.db):
        list(referred.select_for_update().values_list("pk"))


@dataclass(kw_only=True)
class _Plan:
    """How to read what the jobs need: which paths, which new values, and whether whole rows."""

    model: type[Model]
    concerns: Sequence[Concern]
    new: NewValues
    new_of: NewOf | None
    found: dict[Concern, set[Id] | EveryKey] = field(default_factory=dict)
    referred: dict[Concern, set[Any]] = field(default_factory=dict)

    @cached_property
    def functions(self) -> list[Concern]:
        """The jobs whose ids a function tells, which wants to see the row."""
        return [concern for concern in self.concerns if callable(concern.dependency.ids)]

    @cached_property
    def far(self) -> list[Concern]:
        """The jobs whose ids are in other tables."""
        return [concern for concern in self.concerns if is_far(concern, self.model)]

    @cached_property
    def links(self) -> dict[Concern, str]:
        """The columns that refer to where these jobs' ids are."""
        links = {concern: link_of(concern, self.model) for concern in self.far}
        return {concern: link.attname for concern, link in links.items() if link is not None}

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
        written: set[str] = set()
        pk: Any = self.model._meta.pk
        for values, instance in self._rows(rows, aliases, also):
            pks.add(values[pk.attname])
            others.add(tuple(values[name] for name in also))
            for concern, name in self.links.items():
                self.referred.setdefault(concern, set()).add(values[name])
            told = {name: values[alias] for name, alias in computed.items()}
            news = [{**self.new, **told}] if self.new_of is None else self.new_of(values)
            for new in news:
                self._take(values, instance, paths, new)
                written.update(new)
        left = [concern for concern, name in self.links.items() if name in written]
        return Seen(
            pks=pks,
            found=[
                (concern, each if isinstance(each, EveryKey) else frozenset(each))
                for concern, each in self.found.items()
            ],
            again=[*elsewhere(self.far, self.model, pks, using=rows.db), *self._referred_for(left)],
            referred=self._referred_for(self.links),
            also=others,
        )

    def _referred_for(self, concerns: Iterable[Concern]) -> list[Elsewhere]:
        return [
            each
            for concern in concerns
            for each in referred(concern, self.model, self.referred.get(concern, ()))
        ]

    def _rows(
        self, rows: QuerySet[Any], aliases: Sequence[str], also: Sequence[str]
    ) -> Iterable[tuple[Mapping[str, Any], Model | None]]:
        """Return each row's values by name; with joins a row may come more than once."""
        columns = {
            attname_of(self.model, str(c.dependency.ids)) for c in self.concerns if is_local(c, self.model)
        }
        names = [*({self.model._meta.pk.attname, *columns, *self.links.values(), *also}), *aliases]
        if self.functions or self.far:
            # Instances, because Django locks the rows of one table alone only where it makes instances.
            if not self.functions and not self.model._meta.parents:
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
        for concern in self.concerns:
            source = concern.dependency.ids
            if source is None:
                self._add(concern, EVERY_KEY)
            elif callable(source):
                continue  # asked below
            elif concern in paths:
                self._take_value(concern, values[paths[concern]])
                if is_moved_by(concern, self.model, new):
                    self._add(concern, EVERY_KEY)
            else:
                name = attname_of(self.model, source)
                self._take_value(concern, values[name])
                if name in new:
                    self._take_value(concern, new[name])
        if instance is not None:
            self._ask(instance, new)

    def _take_value(self, concern: Concern, value: Any) -> None:
        if self.found.get(concern) is not EVERY_KEY:  # else what ails a column is said for every row
            self._add(concern, EVERY_KEY if value is UNKNOWN else ids_told(value, concern, self.model))

    def _ask(self, row: Model, new: NewValues) -> None:
        """Have functions tell the ids of a row as it is, and as it will be."""
        for concern in self.functions:
            self._add(concern, ids_in_memory(concern, row, is_loaded=True))
        if not new:
            return
        if UNKNOWN in new.values() or is_partly_computed(row):
            for concern in self.functions:
                self._add(concern, EVERY_KEY)
            return
        for name, value in new.items():
            setattr(row, name, value)
        for concern in self.functions:
            self._add(concern, ids_in_memory(concern, row))

    def _add(self, concern: Concern, ids: Ids) -> None:
        known = self.found.setdefault(concern, set())
        if isinstance(known, EveryKey):
            return
        if isinstance(ids, EveryKey):
            self.found[concern] = EVERY_KEY
        else:
            known.update(ids)


def _can_lock(using: str) -> bool:
    connection = connections[using]
    return bool(connection.in_atomic_block and connection.features.has_select_for_update)


def _locked(rows: QuerySet[Any], *, joined: bool) -> QuerySet[Any]:
    """Lock what an update would lock: the rows of the model's own tables."""
    if not _can_lock(rows.db):
        return rows
    features = connections[rows.db].features
    of: tuple[str, ...] = ()
    if joined and features.has_select_for_update_of:
        of = ("self", *_parent_links(rows.model))
    return rows.select_for_update(of=of, no_key=features.has_select_for_no_key_update)


def _parent_links(model: type[Model], before: str = "") -> list[str]:
    links = []
    for parent, link in model._meta.concrete_model._meta.parents.items():  # type: ignore[union-attr]
        if link is not None:
            path = f"{before}{link.name}"
            links += [path, *_parent_links(parent, f"{path}{LOOKUP_SEP}")]
    return links
