"""Rows of a through model that a many-to-many field adds and removes, for which it sends one signal."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Model, Q, QuerySet
from django.db.models.constants import LOOKUP_SEP

from warmer.changes import EVERY_KEY, NO_IDS, Ids, both, ids_in_database, ids_told
from warmer.far_rows import Elsewhere, elsewhere
from warmer.invalidation import Found, expect, record_all
from warmer.new_values import UNKNOWN, new_value
from warmer.registry import Concern, jobs
from warmer.rows import hold_off, look


def on_change(
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    """`m2m_changed`: invalidate for the rows of the through model that come or go."""
    concerns = jobs.concerned(sender)
    if action == "pre_add":
        expect(concerns, using=using)
    if not concerns or action not in ("post_add", "pre_remove", "pre_clear"):
        return
    change = _Change(
        through=sender,
        fields=list(_many_to_many_of(sender, model if reverse else type(instance))),
        instance=instance,
        reverse=reverse,
        targets=pk_set,
        using=using,
    )
    found: Found = [(concern, EVERY_KEY) for concern in concerns if concern.dependency.ids is None]
    again: list[Elsewhere] = []
    with_ids = [concern for concern in concerns if concern.dependency.ids is not None]
    if with_ids:
        told, again = change.added(with_ids) if action == "post_add" else change.removed(with_ids)
        found += told
    record_all(found, using=using, again=again)


@dataclass(frozen=True, kw_only=True)
class _Change:
    """Rows between an instance and others, which come or go.

    Attributes:
        through: their model.
        fields: the fields whose rows are in it.
        reverse: whether the instance is on the other end of these.
        targets: what the rows have on the end that is not the instance's; None: anything.
    """

    through: type[Model]
    fields: list[Any]
    instance: Model
    reverse: bool
    targets: set[Any] | None
    using: str

    def added(self, concerns: list[Concern]) -> tuple[Found, list[Elsewhere]]:
        """Return what rows give that were just added, and what their mirrors will; and whom to ask again."""
        pks = list(self._rows().values_list("pk", flat=True))
        mirrored = [field for field in self.fields if field.remote_field.symmetrical]
        asked = [
            each
            for concern in concerns
            for each in (concern, *(_mirrored(concern, field) for field in mirrored))
        ]
        found = [(each, ids_in_database(each, self.through, pks, using=self.using)) for each in asked]
        return found, elsewhere(asked, self.through, pks, using=self.using)

    def removed(self, concerns: list[Concern]) -> tuple[Found, list[Elsewhere]]:
        """Return what rows give that are about to go; and whom to ask again.

        An end that is named needs no look, nor that others wait for us: two that `set` each other would.
        """
        found: Found = []
        to_look_at = []
        for concern in concerns:
            named = self._named(concern)
            if named is None:
                to_look_at.append(concern)
            else:
                found.append((concern, named))
        again: list[Elsewhere] = []
        if to_look_at:
            # Else others could add rows that go with ours, and nobody would hear of it. Both ends of a
            # symmetrical field refer to the instance by the same column.
            for target, value in {(mine.target_field, self._value(mine)) for mine, _ in self._ends()}:
                referred: QuerySet[Any] = QuerySet(target.model, using=self.using)
                hold_off(referred.filter(**{target.attname: value}))
            seen = look(self._rows(), to_look_at, lock=True)
            found += seen.found
            again = seen.referred
        return found, again

    def _ends(self) -> Iterator[tuple[Any, Any]]:
        """Yield the foreign keys on the instance's end and on the other, of a symmetrical field both ways."""
        for field in self.fields:
            ends = [_end(field, field.m2m_field_name()), _end(field, field.m2m_reverse_field_name())]
            for mine, theirs in [ends, ends[::-1]] if field.remote_field.symmetrical else [ends]:
                yield (theirs, mine) if self.reverse else (mine, theirs)

    def _rows(self) -> QuerySet[Any]:
        lookup = Q()
        for mine, theirs in self._ends():
            rows = Q((mine.name, self._value(mine)))
            if self.targets is not None:
                rows &= Q((f"{theirs.name}__in", self.targets))
            lookup |= rows
        return QuerySet(self.through, using=self.using).filter(lookup)

    def _value(self, mine: Any) -> Any:
        """Return what a row has on the instance's end."""
        return mine.get_foreign_related_value(self.instance)[0]

    def _named(self, concern: Concern) -> Ids | None:
        """Return the ids that rows give by an end of theirs, where the change names it."""
        source = concern.dependency.ids
        if not isinstance(source, str):
            return None
        ids: Ids | None = None
        for mine, theirs in self._ends():
            for end, values in ((mine, {self._value(mine)}), (theirs, self.targets)):
                if source in (end.name, end.attname):
                    if values is None:
                        return None
                    told = [new_value(end, value) for value in values]
                    if UNKNOWN in told:
                        return None
                    ids = both(ids or NO_IDS, ids_told(told, concern, self.through))
        return ids


def _many_to_many_of(through: type[Model], source: Any) -> Iterator[Any]:
    """Yield the fields of a model whose rows are those of a through model."""
    return (field for field in source._meta.many_to_many if field.remote_field.through is through)


def _mirrored(concern: Concern, field: Any) -> Concern:
    """Return the concern of the mirrors of through rows, asked of the rows themselves.

    Django inserts the mirror after the signal: what a mirror has on one end, the row has on the other.
    """
    mine, theirs = _end(field, field.m2m_field_name()), _end(field, field.m2m_reverse_field_name())
    source: Any = concern.dependency.ids

    def of_mirror(row: Model) -> Any:
        mirror = copy(row)
        mirror.pk = None
        setattr(mirror, mine.attname, getattr(row, theirs.attname))
        setattr(mirror, theirs.attname, getattr(row, mine.attname))
        return source(mirror)

    if callable(source):
        return replace(concern, dependency=replace(concern.dependency, ids=of_mirror))
    other = {mine.name: theirs.name, mine.attname: theirs.attname}
    other |= {name: name_of_other for name_of_other, name in other.items()}
    first, *rest = source.split(LOOKUP_SEP)
    path = LOOKUP_SEP.join([other.get(first, first), *rest])
    return replace(concern, dependency=replace(concern.dependency, ids=path))


def _end(field: Any, name: str) -> Any:
    """Return one of the two foreign keys of a many-to-many's through model."""
    return field.remote_field.through._meta.get_field(name)
