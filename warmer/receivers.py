"""Receivers of Django's signals: which keys the change of a row concerns, before and after it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

from django.db import connections
from django.db.models import Model, Q, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.db.models.signals import ModelSignal, m2m_changed, post_save, pre_delete, pre_save

from warmer import deletes, unlinking
from warmer.changes import (
    EVERY_KEY,
    NO_IDS,
    Ids,
    by_pk,
    ids_in_database,
    ids_in_memory,
    is_column_of_child,
    is_fixed,
    is_local,
    reads_only,
)
from warmer.far_rows import Elsewhere, beyond, elsewhere
from warmer.invalidation import Found, expect, record_all
from warmer.registry import Concern, jobs
from warmer.rows import look
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
    # A row that is not there yet is not asked to be locked: some databases lock where it would be.
    lock = not instance._state.adding and deletes.can_hold(using)
    instance.__dict__[_BEFORE] = _Noted(look(by_pk(sender, [instance.pk], using), concerns, lock=lock).found)


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
    """`pre_delete`: invalidate for the ids that the row has; a delete runs in a transaction of its own."""
    found: Found = []
    again: list[Elsewhere] = []
    moving = []
    can_hold = origin is instance or deletes.can_hold(using)
    for concern in jobs.concerned(sender):
        again += beyond(concern, instance)
        if concern.is_of_child:
            found.append((concern, NO_IDS))  # the child goes with its parent, and has a signal of its own
        elif is_fixed(concern, sender) or not can_hold:
            found.append((concern, ids_in_memory(concern, instance, is_loaded=origin is not instance)))
        else:
            moving.append(concern)
    if moving:
        found += deletes.look_at_deleted(instance, origin, moving, using=using)
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
    found: Found = [(concern, EVERY_KEY) for concern in concerns if concern.dependency.ids is None]
    with_ids = [concern for concern in concerns if concern.dependency.ids is not None]
    if with_ids:
        rows: QuerySet[Any] = QuerySet(through, using=using).filter(
            _through_lookup(fields, instance, reverse, pk_set)
        )
        if action == "post_add":
            found += _found_with_mirrors(with_ids, fields, rows)
        else:
            _hold_off_others(fields, instance, reverse, using)
            found += look(rows, with_ids, lock=True).found
    record_all(found, using=using)


def _found_with_mirrors(concerns: list[Concern], fields: list[Any], rows: QuerySet[Any]) -> Found:
    """Return what new through rows give, and what their mirrors will."""
    pks = list(rows.values_list("pk", flat=True))
    mirrored = [field for field in fields if field.remote_field.symmetrical]
    return [
        (concern, ids_in_database(each, rows.model, pks, using=rows.db))
        for concern in concerns
        for each in (concern, *(_mirrored(concern, field) for field in mirrored))
    ]


def _hold_off_others(fields: list[Any], instance: Model, reverse: bool, using: str) -> None:
    """Keep others from adding through rows of an instance until ours are deleted: they would go unheard.

    A row that refers to another locks that against its deletion, and waits for who has locked it so.
    """
    connection = connections[using]
    if not (connection.in_atomic_block and connection.features.has_select_for_update):
        return
    for field in fields:
        mine = _end(field, field.m2m_reverse_field_name() if reverse else field.m2m_field_name())
        referred: QuerySet[Any] = QuerySet(mine.related_model, using=using).filter(
            **{mine.target_field.attname: mine.get_foreign_related_value(instance)[0]}
        )
        list(referred.select_for_update().values_list("pk"))


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
