"""Rows that give ids by rows of other tables, which other transactions may change until ours commits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP

from warmer.changes import IN_LIMIT, NO_IDS, Ids, both, chunks, ids_in_database, steps
from warmer.registry import Concern


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Rows that give ids by rows of other tables, which other transactions may change until ours commits."""

    concern: Concern
    model: type[Model]
    pks: frozenset[Any]

    def ids(self, using: str) -> Ids:
        """Return the ids that they give now: a query for every few thousand rows."""
        found = NO_IDS
        for some in chunks(self.pks, IN_LIMIT):
            found = both(found, ids_in_database(self.concern, self.model, some, using=using))
        return found


def elsewhere(concerns: Iterable[Concern], model: type[Model], pks: Iterable[Any]) -> list[Elsewhere]:
    """Return what rows give by rows of other tables, to be read again when they are committed."""
    by_path = [concern for concern in concerns if steps(concern)[1:]]
    rows = frozenset(pks) if by_path else frozenset()
    return [Elsewhere(concern=concern, model=model, pks=rows) for concern in by_path]


def merged(rows: Iterable[Elsewhere]) -> list[Elsewhere]:
    """Return the same rows with each job, and each model, once."""
    found: dict[tuple[Concern, type[Model]], set[Any]] = {}
    for each in rows:
        found.setdefault((each.concern, each.model), set()).update(each.pks)
    return [
        Elsewhere(concern=concern, model=model, pks=frozenset(pks)) for (concern, model), pks in found.items()
    ]


def beyond(concern: Concern, instance: Model) -> list[Elsewhere]:
    """Return the row that the path of an instance leads by, where the instance itself will be gone."""
    first, *rest = steps(concern)
    if not rest:
        return []
    field: Any = instance._meta.get_field(first)
    if not field.concrete or not field.is_relation or not field.target_field.primary_key:
        return []
    dependency = replace(concern.dependency, model=field.related_model, ids=LOOKUP_SEP.join(rest))
    referred = frozenset([getattr(instance, field.attname)]) - {None}
    return [
        Elsewhere(concern=replace(concern, dependency=dependency), model=field.related_model, pks=referred)
    ]
