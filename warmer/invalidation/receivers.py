"""Capture by Django's signals: changes by `save()`, `delete()` and many-to-many fields.

The receivers predict nothing and lock no row. A save records the new row. If a save can move the row from one
id to another, one query before it reads the old row.

With triggers, the database records changes itself. The receivers then record only changes of tables without
triggers. With one database, they disconnect from a model once triggers cover all of its tables.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import wraps
from typing import Any

from django.apps import apps
from django.db import Error
from django.db.models import Model, Q, QuerySet
from django.db.models.signals import m2m_changed, post_save, pre_delete, pre_save

from warmer.invalidation.recording import record, record_of_ids, record_of_rows
from warmer.invalidation.records import Record, captures_by_triggers, written
from warmer.invalidation.resolve import ids_of, read_rows
from warmer.invalidation.sources import Source, column_of, link_table, sources, tables_of
from warmer.invalidation.transactions import watcher
from warmer.invalidation.triggers import installed
from warmer.report import describe

logger = logging.getLogger(__name__)

UID = "warmer.receivers"
"""The `dispatch_uid` of every receiver here."""

# The attribute that holds the records of the old row during a save.
_BEFORE = "_warmer_before"

_is_listening = False


def follow(*, setting: str = "WARMER_CAPTURE", **_: Any) -> None:
    """Connect the receivers for a job that is declared after `ready()`."""
    if _is_listening and setting == "WARMER_CAPTURE":
        listen()


def listen(**_: Any) -> None:
    """Connect the receivers for every model whose rows touch a table that a job depends on."""
    global _is_listening
    _is_listening = True
    for model in apps.get_models(include_auto_created=True):
        if sources().of_model(model) or sources().links_of(model):
            for signal, receiver in _receivers_of(model):
                signal.connect(receiver, sender=model, dispatch_uid=UID)


def _receivers_of(model: type[Model]) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = [(m2m_changed, on_link)]
    if not model._meta.auto_created:  # Django sends no other signal for these
        found += [(pre_save, before_save), (post_save, after_save), (pre_delete, before_delete)]
    return found


def _never_raises(receiver: Callable[..., Iterable[Record]]) -> Callable[..., None]:
    """Record what a receiver returns, or every key if it fails: a save must not fail because of us."""

    @wraps(receiver)
    def receive(sender: type[Model], using: str, **arguments: Any) -> None:
        if not (found := _recorded_here(sender, using)):
            return
        try:
            records = list(receiver(sender=sender, using=using, found=found, **arguments))
        except Error:
            raise  # the transaction cannot continue
        except Exception as error:  # noqa: BLE001 - a project's function, field or sender
            message = "The keys that a change of %s affects are unknown, so every key is invalidated: %s"
            logger.error(message, sender._meta.label, describe(error))
            records = [Record(source=source.name) for source in found]
        record(records, using=using)

    return receive


def _recorded_here(sender: type[Model], using: str) -> list[Source]:
    """Return the sources affected by a change of a model's rows that no trigger covers."""
    known = sources()
    found = [*known.of_model(sender), *(source for source, _ in known.links_of(sender))]
    if captures_by_triggers():
        with_triggers = installed(using)
        found = [source for source in found if source.table not in with_triggers]
        if not found and written() == [using]:
            # With a receiver, Django reads rows before it deletes them, and links before it adds others.
            for signal, _ in _receivers_of(sender):
                signal.disconnect(sender=sender, dispatch_uid=UID)
    return found


def _own(found: Iterable[Source], sender: type[Model]) -> list[Source]:
    """Return the sources that hold a model's own rows."""
    tables = tables_of(sender)
    return [source for source in found if source.model in tables]


# -- saves ------------------------------------------------------------------------------------------
@_never_raises
def before_save(
    *,
    sender: type[Model],
    instance: Model,
    using: str,
    found: list[Source],
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> Iterable[Record]:
    """`pre_save`: read the old row from the database if the save may move it to other ids."""
    instance.__dict__.pop(_BEFORE, None)  # left by a save that failed
    found = [source for source in _own(found, sender) if _is_saved(source, update_fields)]
    watcher(using).expect(changed=[source.name for source in found])
    moving = [source for source in found if _can_move(source, update_fields)]
    if moving and instance.pk is not None:
        rows = _saved_row(instance, using)
        instance.__dict__[_BEFORE] = [record_of_rows(source, rows) for source in moving]
    return ()


@_never_raises
def after_save(
    *,
    sender: type[Model],
    instance: Model,
    using: str,
    found: list[Source],
    created: bool = True,
    update_fields: Collection[str] | None = None,
    **_: Any,
) -> Iterable[Record]:
    """`post_save`: record the new and the old row."""
    yield from instance.__dict__.pop(_BEFORE, ())
    saved = [source for source in _own(found, sender) if created or _is_saved(source, update_fields)]
    is_in_memory = all(_is_in_memory(instance, source, update_fields) for source in saved)
    rows = [instance] if is_in_memory else _saved_row(instance, using)
    for source in saved:
        yield record_of_rows(source, rows)


def _saved_row(instance: Model, using: str) -> list[Model]:
    """Return the row of an instance as the database has it; empty if there is none."""
    return list(QuerySet(type(instance), using=using).filter(pk=instance.pk))


def _can_move(source: Source, update_fields: Collection[str] | None = None) -> bool:
    """Return whether a save can move a row of a source from one id to another."""
    fields = (field for field in source.fields if field not in source.model._meta.pk_fields)
    return any(_is_written(field, update_fields) for field in fields)


def _is_written(field: Any, update_fields: Collection[str] | None) -> bool:
    """Return whether a save with `update_fields` writes a field, directly or in the database."""
    named = update_fields is None or not {field.name, field.attname}.isdisjoint(update_fields)
    return bool(field.generated or named)


def _is_saved(source: Source, update_fields: Collection[str] | None) -> bool:
    """Return whether a save with `update_fields` may change a column that is compared."""
    fields: Any = source.model._meta.concrete_fields
    saved = {column_of(field) for field in fields if _is_written(field, update_fields)}
    return source.compared is None or not {*source.compared}.isdisjoint(saved)


def _is_in_memory(instance: Model, source: Source, update_fields: Collection[str] | None) -> bool:
    """Return whether a saved instance has the database's values in the recorded columns."""
    return all(
        not field.generated
        and (field.primary_key or _is_written(field, update_fields))
        and not hasattr(instance.__dict__.get(field.attname), "resolve_expression")
        for field in source.fields
    )


# -- deletes ------------------------------------------------------------------------------------------
@_never_raises
def before_delete(
    *, sender: type[Model], instance: Model, using: str, found: list[Source], origin: Any = None, **_: Any
) -> Iterable[Record]:
    """`pre_delete`: record the row; paths from it to other tables are followed while it exists."""
    for source, key in sources().links_of(sender):
        if source in found:
            (value,) = key.get_foreign_related_value(instance)
            yield record_of_rows(source, QuerySet(source.model, using=using).filter(**{key.name: value}))
    found = _own(found, sender)
    rows = [instance]
    if origin is instance and any(map(_can_move, found)):  # it may have been changed in memory
        rows = _saved_row(instance, using) or rows
    for source in found:
        of_rows = record_of_rows(source, rows)
        yield of_rows
        for each in source.dependents:
            if each.from_row:
                yield record_of_ids(each.spec, ids_of(each, read_rows(of_rows), using=using))


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
) -> Iterable[Record]:
    """`m2m_changed`: record the added or removed rows of the link table."""
    if action == "pre_add":
        watcher(using).expect(changed=[source.name for source in found])
    if action not in ("post_add", "pre_remove", "pre_clear"):
        return
    ends = list(_ends(sender, model if reverse else type(instance)))
    is_meant, rows = Q(), list[dict[str, Any]]()
    for one, other in ends:
        mine, theirs = (other, one) if reverse else (one, other)
        (value,) = mine.get_foreign_related_value(instance)
        is_meant |= Q(**{mine.name: value})
        rows += [{mine.attname: value, theirs.attname: pk} for pk in pk_set or ()]
    for source in found:
        if ends and pk_set is None:
            yield record_of_rows(source, QuerySet(sender, using=using).filter(is_meant))
        elif ends and all(field.attname in row for row in rows for field in source.fields):
            # From memory: a symmetrical field adds the mirrored rows after its signal.
            yield record_of_rows(source, [sender(**row) for row in rows])
        else:  # another app's custom many-to-many field, or a column that the signal does not pass
            yield Record(source=source.name)


def _ends(through: type[Model], model: type[Model]) -> Iterator[tuple[Any, Any]]:
    """Yield the keys of a link table to the field's model and to the other; both ways if symmetrical."""
    fields: Any = model._meta.many_to_many
    for field in fields:
        if getattr(field.remote_field, "through", None) is through:
            _, here, there = link_table(field)
            yield here, there
            if field.remote_field.symmetrical:
                yield there, here
