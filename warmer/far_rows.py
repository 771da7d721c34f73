"""Rows that give ids by rows of other tables, which other transactions may change until ours commits.

A change asks them while it is made, which is what is kept if its process is killed, and once more at its
commit: who moved a row in between has invalidated by then, and readers have read it without our change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections
from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP

from warmer.changes import NO_IDS, EveryKey, Ids, both, concrete_field, ids_in_database, steps
from warmer.registry import Concern
from warmer.spec import JobSpec


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Rows to be asked for their ids: those that have one of some values in a column."""

    concern: Concern
    model: type[Model]
    column: str = "pk"
    values: frozenset[Any]

    def ids(self, using: str) -> Ids:
        """Return the ids that they give now."""
        return ids_in_database(self.concern, self.model, self.values, using=using, column=self.column)


def elsewhere(
    concerns: Iterable[Concern], model: type[Model], pks: Iterable[Any], *, using: str
) -> list[Elsewhere]:
    """Return the rows whose ids are in other tables, to be asked once more at the commit.

    None without a transaction: what they give after their change was committed is known then.
    """
    if not connections[using].in_atomic_block:
        return []
    leading = [concern for concern in concerns if _leads_elsewhere(concern, model)]
    rows = frozenset(pks) if leading else frozenset()
    return [Elsewhere(concern=concern, model=model, values=rows) for concern in leading if rows]


def _leads_elsewhere(concern: Concern, model: type[Model]) -> bool:
    first, *rest = steps(concern)
    return bool(rest) or (bool(first) and concrete_field(model, first) is None)


def link_of(concern: Concern, model: type[Model]) -> Any:
    """Return the foreign key of a model's own rows by which the path to a job's ids begins, or None."""
    first, *rest = steps(concern)
    field = concrete_field(model, first) if rest else None
    return field if field is not None and field.is_relation else None


def referred(concern: Concern, model: type[Model], values: Iterable[Any]) -> list[Elsewhere]:
    """Return the rows that rows of a model refer to, or did, and by which their ids are found.

    Of rows that are gone, or refer to others by then, only these can tell which ids they gave.

    Args:
        values: what the rows have, or had, in the foreign key by which the path begins.
    """
    link = link_of(concern, model)
    known = frozenset(values) - {None}
    if link is None or not known:
        return []
    rest = LOOKUP_SEP.join(steps(concern)[1:])
    dependency = replace(concern.dependency, model=link.related_model, ids=rest)
    return [
        Elsewhere(
            concern=replace(concern, dependency=dependency),
            model=link.related_model,
            column=link.target_field.attname,
            values=known,
        )
    ]


def referred_by(concerns: Iterable[Concern], instance: Model) -> list[Elsewhere]:
    """Return the rows that an instance refers to, as it stands in memory."""
    found: list[Elsewhere] = []
    for concern in concerns:
        link = link_of(concern, type(instance))
        if link is not None and not hasattr(value := getattr(instance, link.attname), "resolve_expression"):
            found += referred(concern, type(instance), [value])
    return found


def asked_again(
    ids: Mapping[JobSpec, Ids], rows: Collection[Elsewhere], *, using: str
) -> Mapping[JobSpec, Ids]:
    """Return ids by job, with those that rows give now."""
    if not rows:
        return ids  # as for most changes
    found = dict(ids)
    for each in _merged(rows):
        known = found.get(each.concern.spec, NO_IDS)
        if not isinstance(known, EveryKey) and (now := each.ids(using)):
            found[each.concern.spec] = both(known, now)
    return found


def _merged(rows: Iterable[Elsewhere]) -> list[Elsewhere]:
    """Return the same rows with each job, and each model, once."""
    found: dict[tuple[Concern, type[Model], str], set[Any]] = {}
    for each in rows:
        found.setdefault((each.concern, each.model, each.column), set()).update(each.values)
    return [
        Elsewhere(concern=concern, model=model, column=column, values=frozenset(values))
        for (concern, model, column), values in found.items()
    ]
