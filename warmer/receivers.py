"""Receivers of Django's signals: which keys the change of a row concerns, before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Model
from django.db.models.signals import ModelSignal, m2m_changed, post_save, pre_delete, pre_save

from warmer import deletes, many_to_many, unlinking
from warmer.changes import (
    EVERY_KEY,
    NO_IDS,
    Ids,
    by_pk,
    ids_in_database,
    ids_in_memory,
    is_column_of_child,
    is_far,
    is_fixed,
    is_local,
    reads_only,
)
from warmer.far_rows import Elsewhere, elsewhere, referred_by
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
    """What a save noted. Who pickles or copies the instance meanwhile, or after a failure, has none of it.

    Attributes:
        referred: what the row refers to.
    """

    referred: Sequence[Elsewhere] = ()

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
        m2m_changed.connect(many_to_many.on_change, sender=model, dispatch_uid=UID)
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
    seen = look(by_pk(sender, [instance.pk], using), concerns, lock=not instance._state.adding)
    noted = instance.__dict__[_BEFORE] = _Noted(seen.found)
    noted.referred = seen.referred


def after_save(
    sender: type[Model],
    instance: Model,
    using: str,
    created: bool = True,
    update_fields: Any = None,
    **_: Any,
) -> None:
    """`post_save`: invalidate for the ids that the row has now and for those that it had."""
    before = instance.__dict__.pop(_BEFORE, _Noted())
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
    concerns = [concern for concern, _ids in now]
    again = elsewhere(concerns, sender, [instance.pk], using=using)
    if before.referred:
        refers_to = referred_by(concerns, instance)
        again += [each for each in before.referred if each not in refers_to]
    record_all([*now, *before.items()], using=using, again=again)


def before_delete(sender: type[Model], instance: Model, using: str, origin: Any = None, **_: Any) -> None:
    """`pre_delete`: invalidate for the ids that the row has; a delete runs in a transaction of its own."""
    found: Found = []
    again: list[Elsewhere] = []
    moving = []
    can_hold = origin is instance or deletes.can_hold(using)
    for concern in jobs.concerned(sender):
        if concern.is_of_child:
            found.append((concern, NO_IDS))  # the child goes with its parent, and has a signal of its own
        elif is_fixed(concern, sender) or not (can_hold or is_far(concern, sender)):
            found.append((concern, ids_in_memory(concern, instance, is_loaded=origin is not instance)))
        else:
            moving.append(concern)
    if moving:
        for seen in deletes.look_at_deleted(instance, origin, moving, using=using):
            found += seen.found
            again += seen.referred
    record_all(found, using=using, again=again)


def _is_likely_new(instance: Model) -> bool:
    """Say whether a save can only insert: Django tries no update when the key is a default.

    But for `force_update`, of which a receiver learns afterwards alone, and for a fixture's rows.
    """
    pk: Any = instance._meta.pk
    return instance._state.adding and (pk.has_default() or pk.has_db_default())
