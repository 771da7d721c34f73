"""Receivers of Django's signals: which keys the change of a row concerns, before and after it."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import Model
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save

from warmer import unlinking
from warmer.changes import EVERY_KEY, Ids, ids_in_database, ids_in_memory, is_fixed, reads_only
from warmer.invalidation import Found, expect, record_all
from warmer.registry import Concern, jobs
from warmer.spec import JobSpec

# Where a save keeps, from before to after it, the ids that its row had in the database.
_BEFORE = "_warmer_ids_before"


def listen(spec: JobSpec) -> None:
    """Hear of the changes of the models that a job depends on; of others not a signal is taken.

    Django reads the rows of a model with `pre_delete` receivers before it deletes them, so a receiver
    for every model would slow down deletes that concern no job.
    """
    for model in jobs.models_of(spec):
        uid = f"warmer.{model._meta.label}"
        pre_save.connect(before_save, sender=model, dispatch_uid=uid)
        post_save.connect(after_save, sender=model, dispatch_uid=uid)
        pre_delete.connect(before_delete, sender=model, dispatch_uid=uid)
        m2m_changed.connect(after_m2m_change, sender=model, dispatch_uid=uid)
        unlinking.listen(model)


def before_save(
    sender: type[Model], instance: Model, using: str, update_fields: Any = None, **_: Any
) -> None:
    """`pre_save`: note the ids that the row has in the database, where the save may move it.

    A receiver of the project may come before `after_save`, and must not store what it reads.
    """
    concerned = jobs.concerned(sender)
    expect(concerned, using=using)
    concerns = [
        concern
        for concern in concerned
        if not is_fixed(concern, sender)
        and not (update_fields is not None and reads_only(concern, sender, update_fields))
    ]
    if not concerns or instance.pk is None or _is_surely_new(instance):
        return
    instance.__dict__[_BEFORE] = {
        concern: ids_in_database(concern, sender, [instance.pk], using=using) for concern in concerns
    }


def after_save(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    """`post_save`: invalidate for the ids that the row has now and for those that it had."""
    before: dict[Concern, Ids] = instance.__dict__.pop(_BEFORE, {})
    now = [(concern, ids_in_memory(concern, instance)) for concern in jobs.concerned(sender)]
    record_all([*now, *before.items()], using=using)


def before_delete(sender: type[Model], instance: Model, using: str, origin: Any = None, **_: Any) -> None:
    """`pre_delete`: invalidate for the ids that the row has; a delete runs in a transaction of its own.

    Rows that a queryset or a cascade deletes were read just now; an instance that is deleted itself
    may be older than its row. A `WarmingQuerySet` has read the ids in other tables for all its rows.
    """
    found: Found = []
    of_all_rows = getattr(origin, "_warmer_recorded", {}).get(sender, ())
    for concern in jobs.concerned(sender):
        if concern in of_all_rows:
            continue
        found.append((concern, ids_in_memory(concern, instance)))
        if origin is instance and not is_fixed(concern, sender):
            found.append((concern, ids_in_database(concern, sender, [instance.pk], using=using)))
    record_all(found, using=using)


def after_m2m_change(
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
    through: Any = sender
    rows = through._base_manager.using(using)
    found: Found = []
    pks: list[Any] | None = None
    for concern in concerns:
        if concern.dependency.ids is None:
            found.append((concern, EVERY_KEY))
            continue
        if pks is None:
            lookup = _through_filter(through, instance, reverse, model, pk_set)
            pks = list(rows.filter(**lookup).values_list("pk", flat=True))
        found.append((concern, ids_in_database(concern, sender, pks, using=using)))
    record_all(found, using=using)


def _is_surely_new(instance: Model) -> bool:
    """Say whether a save can only insert: Django tries no update when the key is a default."""
    pk: Any = instance._meta.pk
    return instance._state.adding and (pk.has_default() or pk.has_db_default())


def _through_filter(
    through: Any, instance: Model, reverse: bool, model: type[Model], pk_set: set[Any] | None
) -> dict[str, Any]:
    """Return the lookup of the through rows between an instance and others (None: all of them)."""
    field = _many_to_many_of(through, instance, model, reverse)
    mine, theirs = field.m2m_field_name(), field.m2m_reverse_field_name()
    if reverse:
        mine, theirs = theirs, mine
    lookup = {mine: instance.pk}
    if pk_set is not None:
        lookup[f"{theirs}__in"] = pk_set
    return lookup


def _many_to_many_of(through: Any, instance: Model, model: type[Model], reverse: bool) -> Any:
    source = model if reverse else type(instance)
    return next(
        field for field in source._meta.many_to_many if cast(Any, field).remote_field.through is through
    )
