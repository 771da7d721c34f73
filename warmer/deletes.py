"""What the rows give that one `delete()` takes, for which Django sends a signal for each row.

Django reads which rows go before its transaction begins, so another transaction may move one meanwhile: it
is deleted all the same, from where it is by then. So the rows are read once more, and locked, at the first
signal that tells of one of their model: those that the delete names, or that refer to what it names. A row
that was not among them is read at its own signal.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.models import CASCADE, Model, QuerySet

from warmer.changes import by_pk
from warmer.registry import Concern
from warmer.rows import Seen, look

Looked = dict[tuple[str, type[Model]], set[Any]]
"""What was looked for, and in rows of which model -> their primary keys."""

# By the block of a delete.
_looked_at: weakref.WeakKeyDictionary[object, Looked] = weakref.WeakKeyDictionary()


def can_hold(using: str) -> bool:
    """Say whether rows that are read stay as they are until the transaction ends.

    A transaction of SQLite that begins with a read fails when another has written since.
    """
    connection: Any = connections[using]
    if not connection.in_atomic_block:
        return False
    return connection.features.has_select_for_update or connection.transaction_mode in (
        "IMMEDIATE",
        "EXCLUSIVE",
    )


def looked_at(using: str) -> Looked:
    """Return what was looked at for the delete under way; who looks adds to it."""
    blocks: Any = connections[using].atomic_blocks
    return _looked_at.setdefault(blocks[-1], {}) if blocks else {}


def look_at_deleted(instance: Model, origin: Any, concerns: Sequence[Concern], *, using: str) -> list[Seen]:
    """Return what is read of a row that is about to be deleted; at the first one also of what goes with it.

    Args:
        origin: whose `delete()` it is: an instance, a queryset, or None.
        concerns: the jobs, for all signals of a delete the same.
    """
    sender = type(instance)
    looked, given = looked_at(using), ("what rows give", sender)
    found: list[Seen] = []
    if given not in looked:
        looked[given] = set()
        for rows in _named_by(origin, sender, using):
            found.append(look(rows, concerns, lock=True))
            looked[given] |= found[-1].pks
    if instance.pk not in looked[given]:
        looked[given].add(instance.pk)
        found.append(look(by_pk(sender, [instance.pk], using), concerns, lock=True))
    return found


def _named_by(origin: Any, sender: type[Model], using: str) -> Iterator[QuerySet[Any]]:
    """Yield the rows of a model that a delete names, and those that refer to what it names."""
    if isinstance(origin, QuerySet):
        model, named = origin.model, origin.order_by()
    elif isinstance(origin, Model):
        model, named = type(origin), by_pk(type(origin), [origin.pk], using)
    else:
        return
    rows: QuerySet[Any] = QuerySet(sender, using=using)
    if model._meta.concrete_model is sender._meta.concrete_model:
        yield rows.filter(pk__in=named.values("pk"))
    columns: Any = sender._meta.concrete_fields
    for column in columns:
        if not column.is_relation or column.remote_field.on_delete is not CASCADE:
            continue
        if column.remote_field.model._meta.concrete_model is model._meta.concrete_model:
            yield rows.filter(**{f"{column.name}__in": named.values(column.target_field.attname)})
