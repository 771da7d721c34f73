"""What a project, an operator or an audit asks to invalidate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.failpoints import reach
from warmer.invalidation import records
from warmer.invalidation.apply import sweep_keys, tell_invalidated
from warmer.invalidation.ids import EVERY_KEY
from warmer.invalidation.recording import Change, ids_of_functions, record, rows_of
from warmer.invalidation.sources import Source, sources
from warmer.invalidation.transactions import open_database_of
from warmer.keys import Id
from warmer.stores import Invalidation, invalidate_together


def invalidate_for(rows: QuerySet[Any] | Iterable[Model] | Model) -> None:
    """Invalidate what depends on rows that changed where nothing captured it.

    With signals that is `queryset.update()`, `bulk_update()`, raw SQL and the like. Inside a transaction it
    takes effect at the commit. Give a row that moves from one id to another before the change and after it.

    Args:
        rows: a queryset, instances of one or more models, or one instance. Historical models, as in
            migrations, are found by their tables.

    Raises:
        Error: the database refuses to record it.
    """
    if isinstance(rows, QuerySet):
        _record_rows(rows.model, rows, using=rows.db)
        return
    found: dict[tuple[str, type[Model]], list[Model]] = defaultdict(list)
    for instance in [rows] if isinstance(rows, Model) else rows:
        found[instance._state.db or DEFAULT_DB_ALIAS, type(instance)].append(instance)
    for (using, model), instances in found.items():
        _record_rows(model, instances, using=using)


def invalidate(spec: JobSpec, ids: Iterable[Id] | None, *, immediately: bool = False) -> None:
    """Invalidate keys of a job: inside a transaction at its commit, else now.

    Args:
        ids: the ids. None, or more than `WARMER_FENCE_RECORDS`: every key.
        immediately: do not wait for the commit. Whoever reads a key before the commit caches the old value,
            and nothing invalidates it again.

    Raises:
        InvalidId: an id cannot be part of a key; nothing was invalidated.
        StoreUnavailable: the cache does not answer, and no transaction is open.
        Error: the database refuses to record it.
    """
    asked = None if ids is None else list(dict.fromkeys(ids))
    keys = None if asked is None else list(dict.fromkeys(map(spec.key.key, asked)))
    if keys is not None and len(keys) > conf.FENCE_RECORDS and spec.keyed and spec.store.lists_keys:
        asked = keys = None
    using = None if immediately else open_database_of(spec)
    if using is not None:
        record([Change(spec=spec, ids=EVERY_KEY if asked is None else asked)], using=using)
        return
    invalidation = Invalidation(store=spec.store, keys=keys)
    invalidate_together([invalidation])
    reach("invalidated", spec.name)
    if keys is None and spec.keyed:
        sweep_keys([invalidation])
    tell_invalidated(spec, keys=keys, lag=timedelta(0))


def request(spec: JobSpec, *, using: str) -> bool:
    """Invalidate every key of a job now, or at the commit of the open transaction on a database.

    Returns:
        Whether it is done; else a worker does the rest.

    Raises:
        StoreUnavailable: the cache does not answer, and the database keeps no records.
    """
    if not records.are_kept(using):
        invalidate(spec, None, immediately=True)
        return True
    record([Change(spec=spec, ids=EVERY_KEY)], using=using)
    return not connections[using].in_atomic_block and not records.by_job()[spec.name]


def _record_rows(model: type[Model], rows: QuerySet[Any] | list[Model], *, using: str) -> None:
    found = sources().of_model(model)
    changes = [Change(source=source.name, rows=_rows(source, rows)) for source in found if source.has_rows]
    record([*changes, *ids_of_functions(found, rows)], using=using)


def _rows(source: Source, rows: QuerySet[Any] | list[Model]) -> list[Any] | None:
    """Return the recorded columns of rows; None, for every key, where these rows do not have them."""
    try:
        return list(rows_of(source, rows))
    except (AttributeError, FieldError, ValidationError):
        return None  # a historical model of before the column, or a value that no column takes
