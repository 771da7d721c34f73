"""Invalidation: what changes ask for, applied after their commit; what could not be, kept and retried."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.models import Model, QuerySet

from warmer import outbox, pending
from warmer.applying import apply, tell_invalidated
from warmer.changes import EVERY_KEY, IN_LIMIT, NO_IDS, Ids, both, by_pk, chunks, ids_in_memory
from warmer.collected import Committed, are_too_many
from warmer.far_rows import Elsewhere, elsewhere, referred_by
from warmer.keys import Id
from warmer.points import reach
from warmer.registry import Concern, jobs
from warmer.rows import look
from warmer.signals import change_recorded
from warmer.spec import JobSpec
from warmer.stores import Invalidation, invalidate_together

logger = logging.getLogger(__name__)


Found = list[tuple[Concern, Ids]]


def invalidate_for(rows: QuerySet[Any] | Iterable[Model] | Model) -> None:
    """Invalidate what depends on rows that were changed without signals.

    For `queryset.update()`, `bulk_update()` and the like, which send none. Inside a transaction it
    takes effect at the commit. A row that moves from one id to another must be given before the
    change and after it.

    Args:
        rows: a queryset, instances of one or more models, or one instance.
    """
    if isinstance(rows, QuerySet):
        _invalidate_for_rows(rows)
        return
    by_alias: dict[str, Found] = defaultdict(list)
    again: dict[str, list[Elsewhere]] = defaultdict(list)
    for instance in [rows] if isinstance(rows, Model) else rows:
        using = instance._state.db or "default"
        concerned = jobs.concerned(type(instance))
        by_alias[using] += [(concern, ids_in_memory(concern, instance)) for concern in concerned]
        if connections[using].in_atomic_block:  # perhaps before the change, perhaps after it
            again[using] += elsewhere(concerned, type(instance), [instance.pk], using=using)
            again[using] += referred_by(concerned, instance)
    for using, found in by_alias.items():
        record_all(found, using=using, by_hand=True, again=again[using])


def invalidate(spec: JobSpec, ids: Iterable[Id] | None) -> None:
    """Invalidate keys of a job now (ids None, or too many of them: all).

    Raises:
        InvalidId: an id cannot be part of a key.
        StoreUnavailable: the cache does not answer; what was asked may not have been done.
    """
    keys = None if ids is None else list(dict.fromkeys(spec.key.key(id) for id in ids))
    if keys is not None and are_too_many(spec, keys):
        keys = None
    change_recorded.send(spec, found=(), using=None, by_hand=True)
    invalidate_together([Invalidation(store=spec.store, keys=keys)])
    reach("invalidated", spec.name)
    if keys is None and spec.keyed:
        spec.store.sweep()
    tell_invalidated(spec, keys=keys, lag=timedelta(0))


def request(spec: JobSpec, *, using: str) -> bool:
    """Invalidate every key of a job now, or have the outbox of `using` keep what cannot be done now.

    Returns:
        Whether it is done; else a worker does the rest.

    Raises:
        StoreUnavailable: the cache does not answer, and nothing keeps what was asked for.
    """
    applied = apply(Committed(ids={spec: EVERY_KEY}, using=using))
    if applied.lost is not None:
        raise applied.lost
    return not outbox.holds(applied.kept, using=using)


def expect(concerns: Iterable[Concern], *, using: str) -> None:
    """Have reads in the transaction on `using` go past the cache: rows are about to be written, or just were.

    What the write asks for is recorded apart from it. Costs no query; without a transaction it does nothing.
    """
    pending.note((concern.spec for concern in concerns), using=using, apply=apply)


def record(concern: Concern, ids: Ids, *, using: str) -> None:
    """Invalidate a job's ids when the transaction on `using` commits; at once where there is none."""
    record_all([(concern, ids)], using=using)


def record_all(found: Found, *, using: str, by_hand: bool = False, again: Collection[Elsewhere] = ()) -> None:
    """Do so for all that one change concerns, together.

    Args:
        again: rows that are asked for their ids once more after a commit: others may change till then what
            they give.
        by_hand: the project asked for it, and not a signal or a method that changes rows.
    """
    change_recorded.send(None, found=found, using=using, by_hand=by_hand)
    collected: dict[JobSpec, Ids] = {}
    for concern, ids in found:
        if ids:
            collected[concern.spec] = both(collected.get(concern.spec, NO_IDS), ids)
    if collected or again:
        pending.add(collected, using=using, apply=apply, again=again)


def _invalidate_for_rows(rows: QuerySet[Any]) -> None:
    """Invalidate for the rows that a query meets; where it meets none, they may have left it."""
    concerned = jobs.concerned(rows.model)
    found: Found = [(concern, EVERY_KEY) for concern in concerned if concern.dependency.ids is None]
    with_ids = [concern for concern in concerned if concern.dependency.ids is not None]
    again: list[Elsewhere] = []
    for some in chunks(rows.values_list("pk", flat=True) if with_ids else (), IN_LIMIT):
        seen = look(by_pk(rows.model, some, rows.db), with_ids)
        found += seen.found
        if connections[rows.db].in_atomic_block:
            again += [*seen.again, *seen.referred]
    record_all(found, using=rows.db, by_hand=True, again=again)
