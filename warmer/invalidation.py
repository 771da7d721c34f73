"""Invalidation: what changes ask for, applied after their commit; what could not be, kept and retried."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Model, QuerySet
from django.utils import timezone

from warmer import outbox, pending
from warmer.changes import EVERY_KEY, EveryKey, Ids, ids_in_database, ids_in_memory
from warmer.exceptions import InvalidId, StoreUnavailable
from warmer.keys import Id
from warmer.pending import Committed
from warmer.points import reach
from warmer.registry import Concern, jobs
from warmer.report import describe
from warmer.signals import change_recorded, keys_invalidated, pending_wanted, refresh_wanted
from warmer.spec import JobSpec
from warmer.stores import Invalidation, invalidate_together

logger = logging.getLogger(__name__)

# A job that is still unknown after so long was removed.
ROLL_OUT = timedelta(days=1)

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
        found = [(concern, _ids_of_queryset(concern, rows)) for concern in jobs.concerned(rows.model)]
        # Without rows nothing is asked for: they may have left the queryset with their change.
        record_all([(concern, ids) for concern, ids in found if ids], using=rows.db, by_hand=True)
        return
    by_alias: dict[str, Found] = defaultdict(list)
    for instance in [rows] if isinstance(rows, Model) else rows:
        for concern in jobs.concerned(type(instance)):
            by_alias[instance._state.db or "default"].append((concern, ids_in_memory(concern, instance)))
    for using, found in by_alias.items():
        record_all(found, using=using, by_hand=True)


def invalidate(spec: JobSpec, ids: Iterable[Id] | None) -> None:
    """Invalidate keys of a job now (ids None: all of them).

    Raises:
        InvalidId: an id cannot be part of a key.
        StoreUnavailable: the cache does not answer; what was asked may not have been done.
    """
    keys = None if ids is None else [spec.key.key(id) for id in ids]
    change_recorded.send(spec, found=(), using=None, by_hand=True)
    invalidate_together([Invalidation(store=spec.store, keys=keys)])
    reach("invalidated", spec.name)
    if keys is None and spec.keyed:
        spec.store.sweep()
    keys_invalidated.send(spec, keys=keys, lag=timedelta(0))


def request(specs: Iterable[JobSpec], *, using: str) -> None:
    """Invalidate every key of some jobs as a change would: at the commit, and kept until it is applied."""
    pending.add(dict.fromkeys(specs, EVERY_KEY), using=using, apply=apply)


def expect(concerns: Iterable[Concern], *, using: str) -> None:
    """Have reads in the transaction on `using` go past the cache: rows are about to be written, or just were.

    What the write asks for is recorded apart from it. Costs no query; without a transaction it does nothing.
    """
    pending.note((concern.spec for concern in concerns), using=using, apply=apply)


def record(concern: Concern, ids: Ids, *, using: str) -> None:
    """Invalidate a job's ids when the transaction on `using` commits; at once where there is none."""
    record_all([(concern, ids)], using=using)


def record_all(found: Found, *, using: str, by_hand: bool = False) -> None:
    """Do so for all that one change concerns, together.

    Args:
        by_hand: the project asked for it, and not a signal or a method that changes rows.
    """
    change_recorded.send(None, found=found, using=using, by_hand=by_hand)
    collected: dict[JobSpec, Ids] = {}
    for concern, ids in found:
        known = collected.get(concern.spec, frozenset())
        if isinstance(ids, EveryKey) or isinstance(known, EveryKey):
            collected[concern.spec] = EVERY_KEY
        elif ids:
            collected[concern.spec] = known | ids
    if collected:
        pending.add(collected, using=using, apply=apply)


def apply(committed: Committed) -> None:
    """Invalidate what a transaction asked for. Never raises: the change is committed already.

    What cannot be done now is left in the outbox: all of it while the cache does not answer, and the
    sweep of a whole job's keys, which may take long, for a worker.
    """
    began = time.monotonic()
    invalidations = _invalidations(committed.ids)
    kept: Sequence[int] = committed.kept
    _reached("committed", committed.ids)
    try:
        invalidate_together(invalidations)
    except StoreUnavailable as error:
        kept = kept or _keep(committed)
        logger.error(
            "Could not invalidate %s, %s: %s",
            ", ".join(spec.name for spec in committed.ids),
            "so it is kept and tried again" if kept else "and nothing keeps it",
            describe(error),
        )
        return
    _reached("invalidated", committed.ids)
    if any(map(_needs_sweep, invalidations)):
        kept = kept or _keep(committed)
        if kept:
            pending_wanted.send(None)
        else:
            _sweep(invalidations)
    else:
        outbox.drop(kept, using=committed.using)
    _tell(committed.ids, invalidations, lag=timedelta(seconds=time.monotonic() - began))


def apply_kept() -> int:
    """Apply what the outbox keeps, oldest first; return how many rows were done.

    Raises:
        StoreUnavailable: the cache does not answer; the rest is tried again later, after a pause that
            doubles with each failure.
    """
    done = 0
    for using in outbox.aliases():
        while rows := outbox.due(using=using):
            ids = _merged(rows)
            invalidations = _invalidations(ids)
            try:
                invalidate_together(invalidations)
                _sweep(invalidations)
            except StoreUnavailable:
                outbox.postpone(rows, using=using)
                raise
            _reached("invalidated", ids)
            lag = timezone.now() - min(row.recorded_at for row in rows)
            foreign = [row for row in rows if _is_for_other_code(row)]
            outbox.postpone(foreign, using=using)
            outbox.drop([row.pk for row in rows if row not in foreign], using=using)
            done += len(rows) - len(foreign)
            _tell(ids, invalidations, lag=lag)
    return done


def _invalidations(ids: pending.Collected) -> list[Invalidation]:
    return [
        Invalidation(
            store=spec.store,
            keys=None if isinstance(each, EveryKey) or not spec.keyed else _keys(spec, each),
        )
        for spec, each in ids.items()
    ]


def _reached(point: str, specs: Iterable[JobSpec]) -> None:
    for spec in specs:
        reach(point, spec.name)


def _tell(ids: pending.Collected, invalidations: Iterable[Invalidation], *, lag: timedelta) -> None:
    for spec, each in zip(ids, invalidations, strict=True):
        keys_invalidated.send(spec, keys=each.keys, lag=lag)
        if spec.on_change == "refresh":
            refresh_wanted.send(spec)


def _is_for_other_code(row: Any) -> bool:
    """Say whether a row names a job that only newer code may know, as while a release is rolled out."""
    return not set(row.jobs) <= set(jobs) and timezone.now() - row.recorded_at < ROLL_OUT


def _merged(rows: Iterable[Any]) -> dict[JobSpec, Ids]:
    merged: dict[JobSpec, Ids] = {}
    for row in rows:
        for name, ids in row.jobs.items():
            if name not in jobs:
                continue
            spec = jobs[name].spec
            known = merged.get(spec, frozenset())
            if ids is None or isinstance(known, EveryKey):
                merged[spec] = EVERY_KEY
            else:
                merged[spec] = known | frozenset(ids)
    return merged


def _keep(committed: Committed) -> Sequence[int]:
    number = outbox.keep(pending.as_kept(committed.ids), using=committed.using)
    return () if number is None else (number,)


def _needs_sweep(invalidation: Invalidation) -> bool:
    return invalidation.keys is None and invalidation.store.template.keyed


def _sweep(invalidations: Iterable[Invalidation]) -> None:
    for each in filter(_needs_sweep, invalidations):
        each.store.sweep()


def _keys(spec: JobSpec, ids: Iterable[Id]) -> list[str]:
    keys = []
    for id in ids:
        try:
            keys.append(spec.key.key(id))
        except InvalidId:
            continue  # it never was the id of a key
    return keys


def _ids_of_queryset(concern: Concern, rows: QuerySet[Any]) -> Ids:
    if concern.dependency.ids is None:
        return EVERY_KEY
    return ids_in_database(concern, rows.model, rows.values_list("pk", flat=True), using=rows.db)
