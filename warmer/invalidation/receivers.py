"""Capture by Django's signals: what `save()`, `delete()` and many-to-many fields change.

Nothing is predicted and no row is locked. A save records the row as it is now; where a save can move the row
from one id to another, one query before it reads the row as it was.

With triggers the database records changes itself. Receivers then record only what has no trigger, and apply
what a save in autocommit left open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, wraps
from typing import Any

from django.apps import apps
from django.db import Error, connections
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save

from warmer.invalidation import records
from warmer.invalidation.inheritance import tables_of
from warmer.invalidation.recording import Change, ids_of_functions, record, rows_of
from warmer.invalidation.resolve import ids_now
from warmer.invalidation.rows import Row
from warmer.invalidation.sources import Source, sources
from warmer.invalidation.transactions import captures_by_triggers, watcher
from warmer.invalidation.triggers import installed, is_known
from warmer.report import describe

logger = logging.getLogger(__name__)

UID = "warmer.receivers"
"""The `dispatch_uid` of every receiver here, by which one is muted."""

# Where a save keeps the rows as they were, until it is done.
_BEFORE = "_warmer_before"


_is_listening = False


def follow(*, setting: str = "WARMER_CAPTURE", **_: Any) -> None:
    """Listen to what a job that was just declared depends on, once `ready()` has begun to listen."""
    if _is_listening and setting == "WARMER_CAPTURE":
        listen()


def listen() -> None:
    """Connect the receivers for every model of which a row touches a table that a job depends on.

    For no other, and with triggers only what they need: before a delete Django reads the rows of a model that
    has receivers.
    """
    global _is_listening
    _is_listening = True
    for model in apps.get_models(include_auto_created=True):
        if sources().of_model(model) or sources().links_of(model):
            pre_save.connect(before_save, sender=model, dispatch_uid=UID)
            post_save.connect(after_save, sender=model, dispatch_uid=UID)
            m2m_changed.connect(on_link, sender=model, dispatch_uid=UID)
            if not captures_by_triggers() or not model._meta.managed:  # a view has no triggers
                _listen_to_deletes(model)


def _listen_to_deletes(model: type[Model]) -> None:
    if not model._meta.auto_created:  # Django sends none for these
        pre_delete.connect(before_delete, sender=model, dispatch_uid=UID)


def on_connection(connection: Any, **_: Any) -> None:
    """`connection_created`: listen to deletes, too, of tables that should have triggers and have none."""
    using = connection.alias
    if using not in connections or not captures_by_triggers() or not sources().by_table:
        return
    try:
        if is_known(using) or not records.are_kept(using):
            return
        with_triggers = installed(using)
    except Error as error:
        logger.warning("Which tables of %r have triggers could not be asked: %s", using, describe(error))
        return
    for model in apps.get_models():
        if any(source.table not in with_triggers for source in sources().of_model(model)):
            _listen_to_deletes(model)


def _never_raises(receiver: Callable[..., None]) -> Callable[..., None]:
    """Make a receiver record every key when it fails: a save must not fail because of us."""

    @wraps(receiver)
    def receive(sender: type[Model], using: str, **arguments: Any) -> None:
        found = _recorded_here(sender, using)
        if not found:
            return
        try:
            receiver(sender=sender, using=using, found=found, **arguments)
        except Error:
            raise  # the transaction cannot go on
        except Exception as error:  # noqa: BLE001 - a project's function, field or sender
            logger.error(
                "What a change of %s concerns could not be found, so every key is invalidated: %s",
                sender._meta.label,
                describe(error),
            )
            record([Change(source=source.name) for source in found], using=using)

    return receive


def _recorded_here(sender: type[Model], using: str) -> list[Source]:
    """Return the sources that a change of a model's rows touches and that no trigger watches."""
    known = sources()
    found = [*known.of_model(sender), *(source for source, _ in known.links_of(sender))]
    if found and captures_by_triggers():
        with_triggers = installed(using)
        found = [source for source in found if source.table not in with_triggers]
        if found:
            _listen_to_deletes(sender)
    return found


def _own(found: Iterable[Source], sender: type[Model]) -> list[Source]:
    """Return the sources that hold a model's own rows."""
    tables = tables_of(sender)
    return [source for source in found if source.model in tables]


# -- saves ------------------------------------------------------------------------------------------
class _Before(list[Any]):
    """The rows as they were. A copy of the instance, as by `pickle`, has none."""

    def __reduce__(self) -> Any:
        return _Before, ()


@_never_raises
def before_save(
    *,
    sender: type[Model],
    instance: Model,
    using: str,
    found: list[Source],
    raw: bool = False,
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> None:
    """`pre_save`: note the row as it is in the database, where the save may move it to other ids."""
    instance.__dict__.pop(_BEFORE, None)  # of a save that failed
    found = [source for source in _own(found, sender) if _is_saved(source, update_fields)]
    watcher(using).expect(changed=[source.name for source in found])
    moving = [source for source in found if _can_move(source, update_fields)]
    if not moving or instance.pk is None or (not raw and _is_new(instance)):
        return
    rows: list[Model] = list(QuerySet(sender, using=using).filter(pk=instance.pk))
    of_rows = [
        Change(source=source.name, rows=list(rows_of(source, rows))) for source in moving if source.columns
    ]
    instance.__dict__[_BEFORE] = _Before([*of_rows, *ids_of_functions(moving, rows)])


def after_save(*, sender: type[Model], using: str, **arguments: Any) -> None:
    """`post_save`: record the row as it is now and as it was. With triggers: apply what they recorded."""
    if captures_by_triggers():
        watcher(using).apply_late()
    _after_save(sender=sender, using=using, **arguments)


@_never_raises
def _after_save(
    *,
    sender: type[Model],
    instance: Model,
    using: str,
    found: list[Source],
    created: bool = True,
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> None:
    found = _own(found, sender)
    before = instance.__dict__.pop(_BEFORE, None)
    changes: list[Change] = list(before or ())

    @cache
    def read() -> list[Model]:
        return list(QuerySet(sender, using=using).filter(pk=instance.pk))

    for source in found:
        if not source.has_rows or (not created and not _is_saved(source, update_fields)):
            continue
        rows = [instance] if _is_in_memory(instance, source.fields, update_fields) else read()
        was_there = not created and before is None and _can_move(source, update_fields)
        changes.append(Change(source=source.name, rows=None if was_there else list(rows_of(source, rows))))
    if any(each.whole for source in found for each in source.dependents):
        is_in_memory = _is_in_memory(instance, sender._meta.concrete_fields, None)
        changes += ids_of_functions(found, [instance] if is_in_memory else read())
    record(changes, using=using)


def _can_move(source: Source, update_fields: Collection[str] | None = None) -> bool:
    """Return whether a save can move a row of a source from one id to another."""
    return any(each.whole for each in source.dependents) or any(
        field.generated or update_fields is None or {field.name, field.attname} & set(update_fields)
        for field in source.fields
        if field not in source.model._meta.pk_fields
    )


def _is_new(instance: Any) -> bool:
    """Return whether Django inserts a row without a look whether it is there: its key is a default."""
    pk = instance._meta.pk
    return bool(instance._state.adding and (pk.has_default() or pk.has_db_default()))


def _is_saved(source: Source, update_fields: Collection[str] | None) -> bool:
    """Return whether a save with `update_fields` may change a column that is compared."""
    if update_fields is None or source.compared is None:
        return True
    fields: Any = source.model._meta.concrete_fields
    saved = {field.column for field in fields if {field.name, field.attname} & set(update_fields)}
    generated = {field.column for field in fields if field.generated}
    return not {*source.compared}.isdisjoint(saved | generated)


def _is_in_memory(instance: Model, fields: Iterable[Any], update_fields: Collection[str] | None) -> bool:
    """Return whether a saved instance has what the database has in some fields."""
    return all(
        not field.generated
        and (update_fields is None or field.primary_key or {field.name, field.attname} & set(update_fields))
        and not hasattr(instance.__dict__.get(field.attname), "resolve_expression")
        for field in fields
    )


# -- deletes ------------------------------------------------------------------------------------------
@_never_raises
def before_delete(
    *, sender: type[Model], instance: Model, using: str, found: list[Source], origin: Any = None, **_: Any
) -> None:
    """`pre_delete`: record the row; what leads from it to other tables is followed while it is there."""
    rows: Any = [instance]
    links = [(source, key) for source, key in sources().links_of(sender) if source in found]
    changes = [
        Change(source=source.name, rows=list(rows_of(source, _linked(source, key, instance, using))))
        for source, key in links
    ]
    found = _own(found, sender)
    if origin is instance and any(map(_can_move, found)):
        # Whoever deletes an instance may have changed it in memory.
        rows = list(QuerySet(sender, using=using).filter(pk=instance.pk)) or rows
    changes += ids_of_functions(found, rows)
    for source in found:
        own = list(rows_of(source, rows))
        changes.append(Change(source=source.name, rows=own))
        changes += [
            Change(spec=each.spec, ids=ids_now(each, own, using=using))
            for each in source.dependents
            if each.from_row
        ]
    record(changes, using=using)


def _linked(source: Source, key: Any, instance: Model, using: str) -> QuerySet[Any]:
    (value,) = key.get_foreign_related_value(instance)
    return QuerySet(source.model, using=using).filter(**{key.name: value})


# -- many-to-many fields ------------------------------------------------------------------------------
@_never_raises
def on_link(
    *,
    sender: type[Model],
    instance: Model,
    action: str,
    reverse: bool,
    model: type[Model],
    pk_set: set[Any] | None,
    using: str,
    found: list[Source],
    **_: Any,
) -> None:
    """`m2m_changed`: record the rows of the link table that come or go."""
    if action == "pre_add":
        watcher(using).expect(changed=[source.name for source in found])
    if action not in ("post_add", "pre_remove", "pre_clear"):
        return
    ends = _ends(sender, model if reverse else type(instance))
    if not ends:  # e.g. another app's own kind of many-to-many
        record([Change(source=source.name) for source in found], using=using)
        return
    changes = []
    for source in found:
        rows: list[Row] = []
        for here, there in ends:
            mine, theirs = (there, here) if reverse else (here, there)
            rows += _links(source, sender, mine, theirs, instance, pk_set, using)
        is_known = all(len(row) == len(source.columns) for row in rows)
        has_function = any(each.function is not None for each in source.dependents)
        changes.append(Change(source=source.name, rows=rows if is_known and not has_function else None))
    record(changes, using=using)


def _ends(through: type[Model], model: type[Model]) -> list[tuple[Any, Any]]:
    """Return the keys of a link table to the field's model and to the other; both ways if symmetrical."""
    ends: list[tuple[Any, Any]] = []
    for field in model._meta.many_to_many:
        if getattr(field.remote_field, "through", None) is not through:
            continue
        here, there = (
            through._meta.get_field(name) for name in (field.m2m_field_name(), field.m2m_reverse_field_name())
        )
        ends.append((here, there))
        if field.remote_field.symmetrical:
            ends.append((there, here))
    return ends


def _links(
    source: Source, through: type[Model], mine: Any, theirs: Any, instance: Model, pks: Any, using: str
) -> Sequence[Row]:
    """Return the columns of the rows between an instance and others, as far as the change tells them."""
    (value,) = mine.get_foreign_related_value(instance)
    if pks is None:
        return list(rows_of(source, QuerySet(through, using=using).filter(**{mine.name: value})))
    known = ({mine.column: value, theirs.column: pk} for pk in pks)
    return [{column: row[column] for column in source.columns if column in row} for row in known]
