"""Which ids of a job a model's change concerns: read from the row as it was and as it is."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from copy import copy
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, OneToOneRel, QuerySet
from django.db.models.constants import LOOKUP_SEP

from warmer.keys import Id, plain, type_names
from warmer.new_values import UNKNOWN, Computed, new_value
from warmer.registry import Concern
from warmer.report import describe

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ID_TYPES = (str, int, UUID)

# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535.
IN_LIMIT = 30_000


class EveryKey:
    """All keys of a job."""

    def __repr__(self) -> str:
        return "EVERY_KEY"


EVERY_KEY = EveryKey()
Ids = frozenset[Id] | EveryKey
NO_IDS: Ids = frozenset()


def ids_in_memory(concern: Concern, instance: Model, *, is_loaded: bool = False) -> Ids:
    """Return the ids that an instance gives, as it stands in memory; what it has not is queried.

    Args:
        is_loaded: it was read from the database, and not saved since: it has all that its row has.
    """
    source = concern.dependency.ids
    if source is None:
        return EVERY_KEY
    try:
        if callable(source) and (is_loaded or not is_partly_computed(instance)):
            return as_ids(source(_as_row_has_it(instance)))
        column = None if callable(source) else _column(type(instance), source)
        if column is None or _is_computed(getattr(instance, column.attname)):
            return ids_in_database(concern, type(instance), [instance.pk], using=instance._state.db)
        return as_ids(_as_column_has_it(column, getattr(instance, column.attname)))
    except Exception as error:  # noqa: BLE001 - a project's own function
        return all_after(error, concern, instance)


def ids_in_database(
    concern: Concern, model: type[Model], values: Iterable[Any], *, using: str | None, column: str = "pk"
) -> Ids:
    """Return the ids that rows give, as they stand in the database: one query for every few thousand.

    Args:
        values: what the rows have in the column.
    """
    if concern.dependency.ids is None:
        return EVERY_KEY
    found = NO_IDS
    for some in chunks(values, IN_LIMIT):
        rows: QuerySet[Any] = QuerySet(model, using=using).filter(**{f"{column}__in": some})
        found = both(found, _ids_of_rows(concern, rows))
    return found


def _ids_of_rows(concern: Concern, rows: QuerySet[Any]) -> Ids:
    source: Any = concern.dependency.ids
    try:
        if callable(source):
            return frozenset().union(*(as_ids(source(row)) for row in rows))
        return as_ids(list(rows.values_list(source, flat=True)))
    except Exception as error:  # noqa: BLE001 - a project's own function
        return all_after(error, concern, rows.model)


def by_pk(model: type[Model], pks: Iterable[Any], using: str | None) -> QuerySet[Any]:
    """Return the rows with these primary keys, whatever a manager would leave out."""
    return QuerySet(model, using=using).filter(pk__in=list(pks))


def chunks(items: Iterable[T], size: int) -> Iterable[list[T]]:
    """Return the items in lists of a size."""
    listed = list(items)
    return (listed[at : at + size] for at in range(0, len(listed), size))


def is_fixed(concern: Concern, model: type[Model]) -> bool:
    """Say whether a row's ids cannot change: there are none, or they are its primary key."""
    source = concern.dependency.ids
    if source is None:
        return True
    return isinstance(source, str) and attname_of(model, source) == model._meta.pk.attname


def reads_only(concern: Concern, model: type[Model], fields: Iterable[str]) -> bool:
    """Say whether a save of these fields alone cannot move a row from one id to another."""
    field = concrete_field(model, steps(concern)[0])
    if field is None or field.generated:
        return False
    return not {field.name, field.attname} & set(fields)


def is_column_of_child(concern: Concern, model: type[Model]) -> bool:
    """Say whether a path begins with a column of the row's child, which a save of the row leaves alone."""
    source = concern.dependency.ids
    if not concern.is_of_child or not isinstance(source, str) or source == "pk":
        return False
    first = model._meta.get_field(source.split(LOOKUP_SEP)[0])
    return isinstance(first, OneToOneRel) and first.parent_link


def is_local(concern: Concern, model: type[Model]) -> bool:
    """Say whether a job's ids are in a column of the row itself."""
    source = concern.dependency.ids
    return isinstance(source, str) and _column(model, source) is not None


def is_far(concern: Concern, model: type[Model]) -> bool:
    """Say whether a job's ids are in another table, or computed by the database."""
    source = concern.dependency.ids
    return isinstance(source, str) and _column(model, source) is None


def is_moved_by(concern: Concern, model: type[Model], attnames: Collection[str]) -> bool:
    """Say whether new values of these columns can change the ids that a row gives."""
    source = concern.dependency.ids
    if source is None:
        return False
    if callable(source):
        return bool(attnames)
    first = steps(concern)[0]
    field = concrete_field(model, first)
    if field is not None and field.generated:
        return bool(attnames)
    return attname_of(model, first) in attnames


def attname_of(model: type[Model], path: str) -> str:
    """Return the attribute that a path of one step names: `post_id` for `post`."""
    column = _column(model, path)
    return path if column is None else column.attname


def _column(model: type[Model], path: str) -> Any:
    """Return the column of the model's own row that a path names, which an instance has in memory.

    What the database generates it has not: Django reads that when a row is loaded, and not when it is saved.
    """
    field = concrete_field(model, path)
    return None if field is None or field.generated else field


def concrete_field(model: type[Model], path: str) -> Any:
    """Return the field with a column of the model's own row that a path of one step names."""
    if path == "pk":
        return model._meta.pk
    return next((each for each in model._meta.concrete_fields if path in (each.name, each.attname)), None)


def steps(concern: Concern) -> list[str]:
    """Return the steps of the path to a job's ids; a single empty one where no path tells them."""
    source = concern.dependency.ids
    return source.split(LOOKUP_SEP) if isinstance(source, str) else [""]


def is_partly_computed(instance: Model) -> bool:
    """Say whether the database alone knows a value of the saved row, and the instance does not."""
    values = instance.__dict__
    return any(
        column.generated or _is_computed(values.get(column.attname))
        for column in instance._meta.concrete_fields
    )


def _is_computed(value: Any) -> bool:
    """Say whether a value is an expression such as `F("number") + 1`, which the database computes."""
    return hasattr(value, "resolve_expression")


def _as_row_has_it(instance: Model) -> Model:
    """Return an instance as its saved row would be loaded, for a function that reads it: 7 for "07"."""
    told = {}
    for column in instance._meta.concrete_fields:
        value = instance.__dict__.get(column.attname)
        if value is not None:
            has = _as_column_has_it(column, value)
            if has is not value and (type(has) is not type(value) or has != value):
                told[column.attname] = has
    if not told:
        return instance
    row = copy(instance)
    for name, value in told.items():
        setattr(row, name, value)
    return row


def _as_column_has_it(column: Any, value: Any) -> Any:
    """Return the value of a saved row as the column gives it back: 7 for "07", a UUID for its text."""
    new = new_value(column, value)
    # What the database computes, and what it will refuse, is not known here.
    return value if new is UNKNOWN or isinstance(new, Computed) else new


def both(one: Ids, other: Ids) -> Ids:
    """Return the ids that are in one or in the other."""
    if isinstance(one, EveryKey) or isinstance(other, EveryKey):
        return EVERY_KEY
    return one | other


def ids_told(value: Any, concern: Concern, subject: object) -> Ids:
    """Return the ids that a column's value gives; all of the job's where it cannot be one."""
    try:
        return as_ids(value)
    except TypeError as error:
        return all_after(error, concern, subject)


def as_ids(value: Any) -> frozenset[Id]:
    """Return the ids that a field or a function gives: one, several, or none for None.

    Raises:
        TypeError: something else came, of which it is not known whose key it means.
    """
    value = plain(value)
    if value is None:
        return frozenset()
    if isinstance(value, _ID_TYPES):
        return frozenset([value])
    # Not all that can be walked through ends: an `F` has an item at every index.
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise _no_ids(value)
    ids = frozenset(plain(each) for each in value if each is not None)
    for each in ids:
        if not isinstance(each, _ID_TYPES):
            raise _no_ids(each)
    return ids


def _no_ids(value: object) -> TypeError:
    kind = type(value).__name__
    return TypeError(f"expected {type_names}, several of them, or None, not something of the type {kind}")


def all_after(error: Exception, concern: Concern, subject: object) -> EveryKey:
    """Log that the ids could not be found; return all.

    A save must not fail because of us, and nothing may stay wrong: so the whole job goes.
    """
    logger.error(
        "The ids of %r for the job %s could not be found, so all of its keys are invalidated: %s",
        subject,
        concern.spec.name,
        describe(error),
    )
    return EVERY_KEY
