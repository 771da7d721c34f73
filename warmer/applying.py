"""What a committed change asks for, done: keys are invalidated, swept and told of, or else kept for later."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import connections, transaction

from warmer import outbox, pending
from warmer.changes import EveryKey
from warmer.collected import Collected, Committed
from warmer.exceptions import InvalidId, StoreUnavailable
from warmer.keys import Id
from warmer.points import reach
from warmer.report import describe
from warmer.signals import keys_invalidated, pending_wanted, refresh_wanted
from warmer.spec import JobSpec
from warmer.stores import Invalidation, invalidate_together

logger = logging.getLogger(__name__)


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
    if (ids := pending.bounded(committed.ids)) != committed.ids:
        committed = replace(committed, ids=ids)
    invalidations = invalidations_of(committed.ids)
    kept: Sequence[int] = committed.kept
    reached("committed", committed.ids)
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
    reached("invalidated", committed.ids)
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
            sweep_and_invalidate_again(invalidations)
        except StoreUnavailable as error:
            applied = _lost(swept, error)
    tell(committed.ids, invalidations, lag=timedelta(seconds=time.monotonic() - began))
    return applied


def invalidations_of(ids: Collected) -> list[Invalidation]:
    return [
        Invalidation(
            store=spec.store,
            keys=None if isinstance(each, EveryKey) or not spec.keyed else _keys(spec, each),
        )
        for spec, each in ids.items()
    ]


def reached(point: str, specs: Iterable[JobSpec]) -> None:
    for spec in specs:
        reach(point, spec.name)


def tell(ids: Collected, invalidations: Iterable[Invalidation], *, lag: timedelta) -> None:
    """Tell of what was invalidated. A receiver that fails is said in the log: the change is committed."""
    for spec, each in zip(ids, invalidations, strict=True):
        tell_invalidated(spec, keys=each.keys, lag=lag)
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


def tell_invalidated(spec: JobSpec, *, keys: Collection[str] | None, lag: timedelta) -> None:
    for error in _failures(keys_invalidated.send_robust(spec, keys=keys, lag=lag)):
        logger.error(
            "A receiver of keys_invalidated failed for %s, whose keys are invalidated all the same. What the "
            "receiver does with it was not done: %s",
            spec.name,
            describe(error),
        )


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


def _failures(answers: Iterable[tuple[object, object]]) -> list[Exception]:
    """Return what receivers raised; the traceback is in Django's own log."""
    return [answer for _, answer in answers if isinstance(answer, Exception)]


def _names(specs: Iterable[JobSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _keep(committed: Committed) -> Sequence[int]:
    number = outbox.keep(pending.as_kept(committed.ids), using=committed.using)
    return () if number is None else (number,)


def sweep_and_invalidate_again(invalidations: Sequence[Invalidation]) -> None:
    """Sweep, and invalidate anew what a loader may have read meanwhile through a job that was not swept yet.

    Raises:
        StoreUnavailable: a cache does not answer.
    """
    _sweep(invalidations)
    if len(invalidations) > 1 and any(map(_needs_sweep, invalidations)):
        invalidate_together(invalidations)


def _needs_sweep(invalidation: Invalidation) -> bool:
    return invalidation.keys is None and invalidation.store.template.keyed


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
