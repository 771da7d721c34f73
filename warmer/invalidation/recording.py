"""Record changes in this process: those from signals, and explicit requests."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.db.models import Model, QuerySet

from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.invalidation import records
from warmer.invalidation.apply import apply_unrecorded, invalidate_ids
from warmer.invalidation.records import Record, are_kept
from warmer.invalidation.resolve import Ids
from warmer.invalidation.sources import Source, sources
from warmer.invalidation.transactions import watcher
from warmer.invalidation.upkeep import backlog
from warmer.keys import Id, plain


def invalidate_for(rows: QuerySet[Any] | Iterable[Model] | Model) -> None:
    """Invalidate all keys that depend on rows whose changes were not captured.

    With signals, these are changes by `queryset.update()`, `bulk_update()`, raw SQL and the like. Inside a
    transaction it takes effect at the commit. If rows move from one id to another, call it before and after
    the change.

    Args:
        rows: a queryset, instances of one or more models, or one instance. Historical models in migrations
            are matched by their tables.

    Raises:
        TypeError: these are not rows.
        Error: the database refuses to record it.
    """
    if isinstance(rows, QuerySet):
        using = rows.select_for_update().db  # the database for writes; a router may use another for reads
        _record_rows(rows.model, rows.using(using), using=using)
        return
    found: dict[tuple[str, type[Model]], list[Model]] = defaultdict(list)
    several: Any = [rows] if isinstance(rows, Model) or not isinstance(rows, Iterable) else rows
    for instance in several:
        if not isinstance(instance, Model):
            advice = "write invalidate_for([row]) or pass a queryset"
            raise TypeError(f"invalidate_for() takes rows, not {instance!r}: {advice}")
        using = router.db_for_write(type(instance), instance=instance)
        found[using, type(instance)].append(instance)
    for (using, model), instances in found.items():
        _record_rows(model, instances, using=using)


def invalidate(spec: JobSpec, ids: Iterable[Id] | None, *, immediately: bool = False) -> None:
    """Invalidate keys of a job: at the commit inside a transaction, otherwise now.

    Args:
        ids: the ids. None, or more than `WARMER_FENCE_RECORDS`: every key.
        immediately: do not wait for the commit. A read before the commit then caches the old value again, and
            nothing invalidates it.

    Raises:
        InvalidId: an id cannot be part of a key; nothing was invalidated.
        StoreUnavailable: the cache does not answer, and no transaction is open.
        Error: the database refuses to record it.
    """
    # Checked before they are hashed: a list is an invalid id too.
    asked = None if ids is None else frozenset(id for id in ids if spec.key.key(id))
    if not immediately:
        models: list[Any] = [dependency.model for dependency in jobs.dependencies(spec)]
        for using in dict.fromkeys([*map(router.db_for_write, models), DEFAULT_DB_ALIAS]):
            if connections[using].in_atomic_block:
                record([record_of_ids(spec, asked)], using=using)
                return
    invalidate_ids({spec: asked}, sweep=True)


def request(spec: JobSpec, ids: Ids = None, *, using: str) -> bool:
    """Invalidate keys of a job now, or at the commit of the open transaction on a database.

    Returns:
        Whether it is complete; otherwise a worker does the rest.

    Raises:
        StoreUnavailable: the cache does not answer, and the database keeps no records.
    """
    if not are_kept(using):
        invalidate(spec, ids, immediately=True)
        return True
    record([record_of_ids(spec, ids)], using=using)
    return not connections[using].in_atomic_block and not backlog(using).by_job[spec.name]


def record(found: Sequence[Record], *, using: str) -> None:
    """Record changes and apply them when the open transaction commits, or now if there is none.

    Raises:
        Error: the database rejects the records; an open transaction cannot continue.
    """
    found = [each for each in found if each.rows != "[]"]  # which affects no key
    if not found:
        return
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        watcher(using).expect(changed=[each.source or each.key for each in found])
        if are_kept(using):
            records.write(found, using=using)
            return
    apply = partial(apply_unrecorded, found, using=using)
    if connection.in_atomic_block:
        transaction.on_commit(apply, using=using, robust=True)
    else:
        apply()


# -- what a record holds: every value as the database's text for it, so that JSON numbers lose nothing ----
def record_of_ids(spec: JobSpec, ids: Ids) -> Record:
    """Return the record of a request to invalidate ids of a job; None: every key."""
    if ids is None or not spec.keyed:
        return Record(key=str(spec.key))
    texts = [each if isinstance(each, int | str) else str(each) for each in map(plain, ids)]
    return Record(key=str(spec.key), rows=json.dumps(texts))


def record_of_rows(source: Source, rows: QuerySet[Any] | Iterable[Model]) -> Record:
    """Return the record of changed rows: a queryset is read by one query, instances from memory."""
    names = [field.attname for field in source.fields]
    if isinstance(rows, QuerySet):
        values: Iterable[Any] = rows.values_list(*names) if names else [()]
    else:
        values = ([getattr(row, name) for name in names] for row in rows)
    texts = (dict(zip(source.columns, map(_text, source.fields, each), strict=True)) for each in values)
    unique = dict.fromkeys(map(json.dumps, texts))
    return Record(source=source.name, rows=f"[{', '.join(unique)}]")


def _text(field: Any, value: Any) -> Any:
    value = plain(value)
    return None if value is None else _shown(field.get_prep_value(field.to_python(value)))


def _shown(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, list | tuple):
        return [None if each is None else _shown(each) for each in value]
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    return str(value)


def _record_rows(model: type[Model], rows: QuerySet[Any] | list[Model], *, using: str) -> None:
    found = []
    for source in sources().of_model(model):
        try:
            found.append(record_of_rows(source, rows))
        except (AttributeError, FieldError, ValidationError):
            # A historical model without the column, or a value that does not fit the column: every key.
            found.append(Record(source=source.name))
    record(found, using=using)
