"""Rows that a delete elsewhere changes, or takes with it, without a signal.

Django sends signals for the rows that a cascade deletes, but not for those of a many-to-many's own table, nor
for those whose foreign key `on_delete` sets to something else. So the rows that refer to what is deleted are
read before: one query for an instance; for a queryset's `delete()` another, which tells what it deletes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.db.models import CASCADE, DO_NOTHING, PROTECT, RESTRICT, SET_DEFAULT, SET_NULL, Model, QuerySet
from django.db.models.deletion import get_candidate_relations_to_delete
from django.db.models.signals import pre_delete

from warmer.changes import IN_LIMIT, by_pk, chunks
from warmer.deletes import looked_at
from warmer.invalidation import record_all
from warmer.new_values import UNKNOWN, NewValues, new_value
from warmer.registry import jobs
from warmer.rows import hold_off, look


def listen(model: type[Model]) -> None:
    """Hear of the deletes that change rows of a model without a signal."""
    columns: Any = model._meta.concrete_fields
    for column in filter(_is_silent, columns):
        referred = column.remote_field.model
        for each in apps.get_models():
            if each._meta.concrete_model is referred._meta.concrete_model:
                pre_delete.connect(before_delete, sender=each, dispatch_uid="warmer.unlinking")


def before_delete(sender: type[Model], instance: Model, using: str, origin: Any = None, **_: Any) -> None:
    """`pre_delete` of what rows refer to: invalidate for the ids that they have, and for those they get."""
    columns = [column for column in _columns_to(sender) if jobs.concerned(column.model)]
    if not columns:
        return
    for some in chunks(_not_looked_at(sender, instance.pk, origin, using), IN_LIMIT):
        deleted = by_pk(sender, some, using)
        hold_off(deleted)
        for column in columns:
            rows: QuerySet[Any] = QuerySet(column.model, using=using).filter(
                **{f"{column.name}__in": deleted}
            )
            seen = look(rows, jobs.concerned(column.model), new=_written(column), lock=True)
            goes = column.remote_field.on_delete is CASCADE
            record_all(seen.found, using=using, again=seen.referred if goes else seen.again)


def _columns_to(model: type[Model]) -> Iterator[Any]:
    """Return the foreign keys to a model whose rows change silently."""
    concrete: Any = model._meta.concrete_model
    relations: Iterable[Any] = get_candidate_relations_to_delete(concrete._meta)
    for relation in relations:
        if _is_silent(relation.field):
            yield relation.field


def _is_silent(column: Any) -> bool:
    if not column.is_relation or column.remote_field is None:
        return False
    on_delete = column.remote_field.on_delete
    if on_delete is CASCADE:
        return bool(column.model._meta.auto_created)
    return on_delete not in (DO_NOTHING, PROTECT, RESTRICT)


def _written(column: Any) -> NewValues:
    """Return what a row has in the column afterwards; nothing when it goes itself."""
    on_delete = column.remote_field.on_delete
    if on_delete is CASCADE:
        return {}
    if on_delete is SET_NULL:
        return {column.attname: None}
    if on_delete is SET_DEFAULT:
        return {column.attname: new_value(column, column.get_default())}
    return {column.attname: UNKNOWN}


def _not_looked_at(sender: type[Model], pk: Any, origin: Any, using: str) -> list[Any]:
    """Return which rows of a delete, which sends a signal for each, are to be looked at now.

    At the first signal those that its queryset meets. Django met them a moment before, and what another
    transaction has changed since it deletes all the same: that is looked at by itself.
    """
    looked, referring = looked_at(using), ("what refers to rows", sender)
    if referring not in looked:
        looked[referring] = {pk}
        if isinstance(origin, QuerySet) and origin.model is sender:
            looked[referring].update(origin.order_by().values_list("pk", flat=True))
        return list(looked[referring])
    if pk in looked[referring]:
        return []
    looked[referring].add(pk)
    return [pk]
