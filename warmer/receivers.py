"""Receivers of Django's signals: which keys the change of a row concerns, before and after it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

from django.db.models import Model, Q, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.db.models.signals import ModelSignal, m2m_changed, post_save, pre_delete, pre_save

from warmer import unlinking
from warmer.changes import (
    EVERY_KEY,
    NO_IDS,
    Elsewhere,
    Ids,
    beyond,
    elsewhere,
    ids_in_database,
    ids_in_memory,
    is_column_of_child,
    is_fixed,
    is_local,
    reads_only,
)
from warmer.invalidation import Found, expect, record_all
from warmer.registry import Concern, jobs
from warmer.spec import JobSpec

UID = "warmer.receivers"
"""The `dispatch_uid` of every receiver here, by which one is muted."""

# Where a save keeps, from before to after it, the ids that its row had in the database.
_BEFORE = "_warmer_ids_before"
# The same, as long as it is not known that the row is a new one.
_IF_IT_WAS_THERE = "_warmer_ids_if_it_was_there"


class _Noted(dict[Concern, Ids]):
    """What a save noted. Who pickles or copies the instance meanwhile, or after a failure, has none of it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, ())


def listen(spec: JobSpec) -> None:
    """Hear of the changes of the models that a job depends on; of others not a signal is taken.

    Django reads the rows of a model with `pre_delete` receivers before it deletes them, so a receiver
    for every model would slow down deletes that concern no job.

    Django knows a sender by its address in memory. Under a name of the model's own, one that came to where
    another was (as those that tests define do) would be listened to twice.
    """
    for model in jobs.models_of(spec):
        pre_save.connect(before_save, sender=model, dispatch_uid=UID)
        post_save.connect(after_save, sender=model, dispatch_uid=UID)
        _put_first(post_save, model)
        pre_delete.connect(before_delete, sender=model, dispatch_uid=UID)
        m2m_changed.connect(after_m2m_change, sender=model, dispatch_uid=UID)
        unlinking.listen(model)


def _put_first(signal: ModelSignal, sender: type[Model]) -> None:
    """Have our receiver of a signal called before those of the project.

    Django sends `post_save` outside of the save's transaction and stops at a receiver that raises: the row
    stays saved, and who is behind does not hear of it.
    """
    with signal.lock:
        ours = next(each for each in signal.receivers if each[0] == (UID, id(sender)))
        signal.receivers.remove(ours)
        signal.receivers.insert(0, ours)
        signal.sender_receivers_cache.clear()


def before_save(
    sender: type[Model],
    instance: Model,
    using: str,
    raw: bool = False,
    update_fields: Any = None,
    **_: Any,
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
        and not is_column_of_child(concern, sender)
        and not (update_fields is not None and reads_only(concern, sender, update_fields))
    ]
    if not concerns or instance.pk is None:
        return
    if not raw and _is_likely_new(instance):
        instance.__dict__[_IF_IT_WAS_THERE] = _Noted.fromkeys(concerns, EVERY_KEY)
        return
    instance.__dict__[_BEFORE] = _Noted(
        (concern, ids_in_database(concern, sender, [instance.pk], using=using)) for concern in concerns
    )


def after_save(
    sender: type[Model],
    instance: Model,
    using: str,
    created: bool = True,
    update_fields: Any = None,
    **_: Any,
) -> None:
    """`post_save`: invalidate for the ids that the row has now and for those that it had."""
    before: dict[Concern, Ids] = instance.__dict__.pop(_BEFORE, {})
    if_it_was_there: dict[Concern, Ids] = instance.__dict__.pop(_IF_IT_WAS_THERE, {})
    if not created:
        before |= if_it_was_there
    now = [
        (concern, NO_IDS if created and concern.is_of_child else ids_in_memory(concern, instance))
        for concern in jobs.concerned(sender)
    ]
    if update_fields is not None:
        # A column that was not saved may be another in memory than in the row.
        now += [
            (concern, ids_in_database(concern, sender, [instance.pk], using=using))
            for concern, _ids in now
            if is_local(concern, sender)
            and not is_fixed(concern, sender)
            and reads_only(concern, sender, update_fields)
        ]
    again = elsewhere([concern for concern, _ids in now], sender, [instance.pk])
    record_all([*now, *before.items()], using=using, again=again)


def before_delete(sender: type[Model], instance: Model, using: str, origin: Any = None, **_: Any) -> None:
    """`pre_delete`: invalidate for the ids that the row has; a delete runs in a transaction of its own.

    Rows that a queryset or a cascade deletes were read just now; an instance that is deleted itself
    may be older than its row. A `WarmingQuerySet` has read the ids in other tables for all its rows.
    """
    found: Found = []
    again: list[Elsewhere] = []
    of_all_rows = getattr(origin, "_warmer_recorded", {}).get(sender, ())
    for concern in jobs.concerned(sender):
        again += beyond(concern, instance)
        if concern in of_all_rows:
            continue
        if concern.is_of_child:
            found.append((concern, NO_IDS))  # the child goes with its parent, and has a signal of its own
            continue
        found.append((concern, ids_in_memory(concern, instance, is_loaded=origin is not instance)))
        if origin is instance and not is_fixed(concern, sender):
            found.append((concern, ids_in_database(concern, sender, [instance.pk], using=using)))
    record_all(found, using=using, again=again)


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
    fields = list(_many_to_many_of(through, model if reverse else type(instance)))
    mirrored = [field for field in fields if action == "post_add" and field.remote_field.symmetrical]
    found: Found = []
    pks: list[Any] | None = None
    for concern in concerns:
        if concern.dependency.ids is None:
            found.append((concern, EVERY_KEY))
            continue
        if pks is None:
            lookup = _through_lookup(fields, instance, reverse, pk_set)
            pks = list(QuerySet(through, using=using).filter(lookup).values_list("pk", flat=True))
        for each in (concern, *(_mirrored(concern, field) for field in mirrored)):
            found.append((concern, ids_in_database(each, sender, pks, using=using)))
    record_all(found, using=using)


def _is_likely_new(instance: Model) -> bool:
    """Say whether a save can only insert: Django tries no update when the key is a default.

    But for `force_update`, of which a receiver learns afterwards alone, and for a fixture's rows.
    """
    pk: Any = instance._meta.pk
    return instance._state.adding and (pk.has_default() or pk.has_db_default())


def _many_to_many_of(through: Any, source: Any) -> Iterator[Any]:
    """Yield the fields of a model whose rows are those of a through model."""
    return (field for field in source._meta.many_to_many if field.remote_field.through is through)


def _through_lookup(fields: list[Any], instance: Model, reverse: bool, targets: set[Any] | None) -> Q:
    """Return the lookup of the through rows between an instance and others (None: all of them).

    Of a symmetrical field that is the rows of both directions, of which the signal names one.
    """
    lookup = Q()
    for field in fields:
        ends = [_end(field, field.m2m_field_name()), _end(field, field.m2m_reverse_field_name())]
        for mine, theirs in [ends, ends[::-1]] if field.remote_field.symmetrical else [ends]:
            if reverse:
                mine, theirs = theirs, mine
            rows = Q((mine.name, mine.get_foreign_related_value(instance)[0]))
            if targets is not None:
                rows &= Q((f"{theirs.name}__in", targets))
            lookup |= rows
    return lookup


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
