"""Invalidation: what changes ask for, applied after their commit; what could not be, kept and retried."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from warmer import outbox, pending
from warmer.changes import (
    EVERY_KEY,
    NO_IDS,
    Elsewhere,
    EveryKey,
    Ids,
    both,
    elsewhere,
    ids_in_database,
    ids_in_memory,
)
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
        if not all(ids for _, ids in found) and not rows.exists():
            # Without rows nothing is asked for: they may have left the queryset with their change.
            found = [(concern, ids) for concern, ids in found if ids]
        record_all(found, using=rows.db, by_hand=True)
        return
    by_alias: dict[str, Found] = defaultdict(list)
    again: dict[str, list[Elsewhere]] = defaultdict(list)
    for instance in [rows] if isinstance(rows, Model) else rows:
        using = instance._state.db or "default"
        concerned = jobs.concerned(type(instance))
        by_alias[using] += [(concern, ids_in_memory(concern, instance)) for concern in concerned]
        again[using] += elsewhere(concerned, type(instance), [instance.pk])
    for using, found in by_alias.items():
        record_all(found, using=using, by_hand=True, again=again[using])


def invalidate(spec: JobSpec, ids: Iterable[Id] | None) -> None:
    """Invalidate keys of a job now (ids None, or too many of them: all).

    Raises:
        InvalidId: an id cannot be part of a key.
        StoreUnavailable: the cache does not answer; what was asked may not have been done.
    """
    keys = None if ids is None else list(dict.fromkeys(spec.key.key(id) for id in ids))
    if keys is not None and pending.are_too_many(spec, keys):
        keys = None
    change_recorded.send(spec, found=(), using=None, by_hand=True)
    invalidate_together([Invalidation(store=spec.store, keys=keys)])
    reach("invalidated", spec.name)
    if keys is None and spec.keyed:
        spec.store.sweep()
    _tell_invalidated(spec, keys=keys, lag=timedelta(0))


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


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What became of invalidations.

    Attributes:
        kept: the rows in the outbox that say what is left to do.
        lost: why something was not done that nothing keeps.
    """

    kept: Sequence[int] = ()
    lost: StoreUnavailable | None = None


def apply(committed: Committed) -> Applied:
    """Invalidate what a transaction asked for. Never raises: the change is committed already.

    What cannot be done now is left in the outbox: all of it while the cache does not answer, and the
    sweep of a whole job's keys, which may take long, for a worker.
    """
    began = time.monotonic()
    committed = replace(committed, ids=pending.bounded(committed.ids))
    invalidations = _invalidations(committed.ids)
    kept: Sequence[int] = committed.kept
    _reached("committed", committed.ids)
    try:
        invalidate_together(invalidations)
    except StoreUnavailable as error:
        kept = kept or _keep(committed)
        if not kept:
            return _lost(committed.ids, error)
        logger.error(
            "Could not invalidate %s, so it is kept and tried again: %s",
            _names(committed.ids),
            describe(error),
        )
        return Applied(kept=kept)
    _reached("invalidated", committed.ids)
    swept = {
        spec: committed.ids[spec]
        for spec, each in zip(committed.ids, invalidations, strict=True)
        if _needs_sweep(each)
    }
    applied = Applied()
    if not swept:
        outbox.drop(kept, using=committed.using)
    elif kept := kept or _keep(committed):
        applied = Applied(kept=kept)
        _want_a_worker(committed)
    else:
        try:
            _sweep_and_invalidate_again(invalidations)
        except StoreUnavailable as error:
            applied = _lost(swept, error)
    _tell(committed.ids, invalidations, lag=timedelta(seconds=time.monotonic() - began))
    return applied


def apply_kept() -> int:
    """Apply what the outbox keeps, oldest first; return how many rows were done.

    Raises:
        StoreUnavailable: the cache does not answer; the rest is tried again later, after a pause that
            doubles with each failure.
    """
    done = 0
    for using in outbox.aliases():
        while rows := outbox.due(using=using):
            ids = pending.bounded(_merged(rows))
            invalidations = _invalidations(ids)
            try:
                invalidate_together(invalidations)
                _sweep_and_invalidate_again(invalidations)
            except StoreUnavailable:
                outbox.postpone(rows, using=using)
                raise
            _reached("invalidated", ids)
            lag = timezone.now() - min(row.recorded_at for row in rows)
            foreign = [row for row in rows if _is_for_other_code(row)]
            for row in foreign:
                if len(left := _unknown(row)) < len(row.jobs):
                    outbox.narrow(row, left, using=using)
            outbox.postpone(foreign, using=using)
            dropped = outbox.drop([row.pk for row in rows if row not in foreign], using=using)
            done += len(rows) - len(foreign)
            _tell(ids, invalidations, lag=lag)
            if not dropped:
                break  # they are due yet: else they would be applied again and again
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
    """Tell of what was invalidated. A receiver that fails is said in the log: the change is committed."""
    for spec, each in zip(ids, invalidations, strict=True):
        _tell_invalidated(spec, keys=each.keys, lag=lag)
        if spec.on_change != "refresh":
            continue
        for error in _failures(refresh_wanted.send_robust(spec)):
            logger.error(
                "Could not ask for a refresh of %s: what was invalidated stays cold until it is read or the "
                "schedule comes; or run 'manage.py warm_cache %s --only-missing': %s",
                spec.name,
                spec.name,
                describe(error),
            )


def _tell_invalidated(spec: JobSpec, *, keys: Collection[str] | None, lag: timedelta) -> None:
    for error in _failures(keys_invalidated.send_robust(spec, keys=keys, lag=lag)):
        logger.error(
            "A receiver of keys_invalidated failed for %s, whose keys are invalidated all the same. What the "
            "receiver does with it was not done: %s",
            spec.name,
            describe(error),
        )


def _failures(answers: Iterable[tuple[object, object]]) -> list[Exception]:
    """Return what receivers raised; the traceback is in Django's own log."""
    return [answer for _, answer in answers if isinstance(answer, Exception)]


def _want_a_worker(committed: Committed) -> None:
    """Have a worker see to the outbox; inside a transaction again at its commit, when it can see the rows."""
    _send_for_a_worker()
    if connections[committed.using].in_atomic_block:
        transaction.on_commit(_send_for_a_worker, using=committed.using, robust=True)


def _send_for_a_worker() -> None:
    for error in _failures(pending_wanted.send_robust(None)):
        logger.error("Pending invalidations wait for the schedule: %s", describe(error))


def _lost(specs: Iterable[JobSpec], error: StoreUnavailable) -> Applied:
    logger.error(
        "Could not invalidate %s, and nothing keeps it: old values stay until their timeout, unless you call "
        "invalidate() of the job, or do it in the admin, when the cache answers again: %s",
        _names(specs),
        describe(error),
    )
    return Applied(lost=error)


def _names(specs: Iterable[JobSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _is_for_other_code(row: Any) -> bool:
    """Say whether a row names a job that only other code may know, as while a release is rolled out."""
    return bool(_unknown(row)) and timezone.now() - row.recorded_at < ROLL_OUT


def _unknown(row: Any) -> list[str]:
    """Return the names in a row of jobs that this code does not know."""
    return [name for name in row.jobs if not _meant(row, name)]


def _meant(row: Any, name: str) -> list[JobSpec]:
    """Return the jobs that a row means by a name: those that have its key now, whatever they are called."""
    key = row.keys.get(name)
    if key is None:
        return [jobs[name].spec] if name in jobs else []
    return [spec for spec in jobs.specs() if str(spec.key) == key]


def _merged(rows: Iterable[Any]) -> dict[JobSpec, Ids]:
    merged: dict[JobSpec, Ids] = {}
    for row in rows:
        for spec, ids in [(spec, ids) for name, ids in row.jobs.items() for spec in _meant(row, name)]:
            asked = EVERY_KEY if ids is None else frozenset(ids)
            merged[spec] = both(merged.get(spec, NO_IDS), asked)
    return merged


def _keep(committed: Committed) -> Sequence[int]:
    number = outbox.keep(pending.as_kept(committed.ids), using=committed.using)
    return () if number is None else (number,)


def _needs_sweep(invalidation: Invalidation) -> bool:
    return invalidation.keys is None and invalidation.store.template.keyed


def _sweep_and_invalidate_again(invalidations: Sequence[Invalidation]) -> None:
    """Sweep, and invalidate anew what a loader may have read meanwhile through a job that was not swept yet.

    Raises:
        StoreUnavailable: a cache does not answer.
    """
    _sweep(invalidations)
    if len(invalidations) > 1 and any(map(_needs_sweep, invalidations)):
        invalidate_together(invalidations)


def _sweep(invalidations: Iterable[Invalidation]) -> None:
    """Sweep the keys of the jobs that need it.

    Raises:
        StoreUnavailable: a cache does not answer. The other jobs are swept.
    """
    failed: StoreUnavailable | None = None
    for each in filter(_needs_sweep, invalidations):
        try:
            each.store.sweep()
        except StoreUnavailable as error:
            failed = error
    if failed is not None:
        raise failed


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
