"""Recorded changes, applied: ids found, keys invalidated, records marked."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import Error, connections

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, StoreUnavailable
from warmer.failpoints import reach
from warmer.invalidation import records
from warmer.invalidation.fingerprint import fingerprint
from warmer.invalidation.ids import EveryKey, Ids
from warmer.invalidation.records import Record
from warmer.invalidation.resolve import resolve
from warmer.keys import Id
from warmer.report import describe
from warmer.signals import keys_invalidated, pending_wanted, refresh_wanted
from warmer.stores import Invalidation, invalidate_together

logger = logging.getLogger(__name__)

MOST_PAGES = 5
"""How many pages of records who changes something applies at the most. A worker does the rest."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What became of some records.

    Attributes:
        known: those of jobs that are declared here. Others are for another process.
        is_swept: whether they are done. If not, the keys of a whole job are still to be found and deleted.
    """

    known: list[Record]
    is_swept: bool


def apply(found: Sequence[Record], *, using: str, sweep: bool, lag: timedelta = timedelta(0)) -> Applied:
    """Invalidate what records ask for.

    Args:
        found: the records.
        using: the database that they are of.
        sweep: find and delete all keys of a job that is invalidated as a whole, which may take long.
        lag: how long ago the changes were committed.

    Raises:
        StoreUnavailable: a cache does not answer.
        Error: the database does not answer.
    """
    began = time.monotonic()
    resolved = resolve(found, using=using)
    _reached("committed", resolved.ids)
    invalidations = [_invalidation(spec, ids) for spec, ids in resolved.ids.items()]
    invalidate_together(invalidations)
    _reached("invalidated", resolved.ids)
    unswept = [each for each in invalidations if each.keys is None and each.store.template.keyed]
    if unswept and sweep:
        sweep_keys(unswept)
        if len(invalidations) > 1:
            # A loader may have read another job meanwhile, whose keys were not swept yet.
            invalidate_together(invalidations)
    _tell(resolved.ids, invalidations, lag=lag + timedelta(seconds=time.monotonic() - began))
    return Applied(known=resolved.known, is_swept=sweep or not unswept)


def apply_committed(*, using: str, above: int) -> None:
    """Apply the changes that a transaction of this process just committed, and what else it finds there.

    Never raises: the change is committed. What cannot be done now is left to a worker.

    Args:
        above: read records with a higher number only.
    """
    before, is_in_test_case = floor(using), connections[using].in_atomic_block
    try:
        if records.are_kept(using):
            with records.read_committed(using):
                _apply_above(above, using)
                purge_if_due(using)
        if is_in_test_case:  # which is rolled back, and SQLite then gives the same numbers again
            _seen[using] = before
    except Exception as error:  # noqa: BLE001 - a loader's, a cache's, a database's
        logger.error("A change is recorded and a worker tries again to apply it: %s", describe(error))


def _apply_above(above: int, using: str) -> None:
    upto, mine = None, fingerprint()
    page = records.unapplied(using=using, above=above, fingerprint=mine)
    if not page and 0 < records.highest(using=using) < above:
        # The database counts from the beginning again, as after a flush or a restore.
        _seen.pop(using, None)
        page = records.unapplied(using=using, above=0, fingerprint=mine)
    if len(page) == records.PAGE:
        upto = records.highest(using=using)
        if upto - above > MOST_PAGES * records.PAGE:  # a backlog: our own changes are the newest
            ask_for_a_worker()
            above = upto - MOST_PAGES * records.PAGE
            page = records.unapplied(using=using, above=above, fingerprint=mine, upto=upto)
    while page:
        above = page[-1].id
        _seen[using] = max(above, floor(using))
        applied = apply(page, using=using, sweep=False)
        if applied.is_swept:
            records.mark([each.id for each in applied.known], using=using, fingerprint=mine)
        else:
            ask_for_a_worker()
        is_last = len(page) < records.PAGE
        page = [] if is_last else records.unapplied(using=using, above=above, fingerprint=mine, upto=upto)


def apply_unrecorded(found: Sequence[Record], *, using: str) -> None:
    """Apply changes that are committed and not recorded. Never raises.

    What cannot be done now is recorded for a worker, where the database keeps records.
    """
    try:
        is_kept = records.are_kept(using)
        try:
            is_done = apply(found, using=using, sweep=not is_kept).is_swept
        except StoreUnavailable as error:
            if not is_kept:
                raise
            is_done = False
            logger.error("A change is recorded and a worker tries again to apply it: %s", describe(error))
        if not is_done:
            records.write(found, using=using)
            ask_for_a_worker()
    except (StoreUnavailable, Error) as error:
        logger.error(
            "Could not invalidate after a change, and nothing records it: old values stay until their "
            "timeout. Run 'manage.py cache_audit --repair' when the cache answers again: %s",
            describe(error),
        )


# -- what this process has seen -------------------------------------------------------------------
_seen: dict[str, int] = {}
_next_purge: dict[str, float] = {}


def floor(using: str) -> int:
    """Return the highest number of a record that this process has read: what comes now has a higher one."""
    return _seen.get(using, 0)


def forget_seen() -> None:
    """Forget the numbers: a flush of the database may begin again at 1."""
    _seen.clear()


def purge_if_due(using: str, *, thoroughly: bool = False) -> None:
    """Delete old records, a few times within `WARMER_REPLAY`; a worker does so thoroughly."""
    if time.monotonic() >= _next_purge.get(using, 0.0):
        _next_purge[using] = time.monotonic() + conf.REPLAY.total_seconds() / 4
        records.purge(using=using, thoroughly=thoroughly)


# -- the parts of an invalidation ---------------------------------------------------------------------
def ask_for_a_worker() -> None:
    """Tell that a change waits for a worker: where tasks run in process, it is done now."""
    for error in _failures(pending_wanted.send_robust(None)):
        logger.error("Changes wait for the next look of a worker: %s", describe(error))


def tell_invalidated(spec: JobSpec, *, keys: Collection[str] | None, lag: timedelta) -> None:
    """Send `keys_invalidated`. A receiver that fails is logged: the keys are invalidated."""
    for error in _failures(keys_invalidated.send_robust(spec, keys=keys, lag=lag)):
        logger.error(
            "A receiver of keys_invalidated failed for %s, whose keys are invalidated all the same: %s",
            spec.name,
            describe(error),
        )


def sweep_keys(invalidations: Iterable[Invalidation]) -> None:
    """Find and delete all keys of jobs.

    Raises:
        StoreUnavailable: a cache does not answer. The other jobs are swept.
    """
    failed: StoreUnavailable | None = None
    for each in invalidations:
        try:
            each.store.sweep()
        except StoreUnavailable as error:
            failed = error
    if failed is not None:
        raise failed


def _tell(ids: Mapping[JobSpec, Ids], invalidations: Iterable[Invalidation], *, lag: timedelta) -> None:
    for spec, each in zip(ids, invalidations, strict=True):
        tell_invalidated(spec, keys=each.keys, lag=lag)
        if spec.on_change != "refresh":
            continue
        for error in _failures(refresh_wanted.send_robust(spec)):
            logger.error(
                "Could not queue a refresh of %s: its keys stay cold until they are read or the schedule "
                "comes; or run 'manage.py warm_cache %s --only-missing': %s",
                spec.name,
                spec.name,
                describe(error),
            )


def _failures(answers: Iterable[tuple[object, object]]) -> list[Exception]:
    """Return what receivers raised; the traceback is in Django's own log."""
    return [answer for _, answer in answers if isinstance(answer, Exception)]


def _reached(point: str, specs: Iterable[JobSpec]) -> None:
    for spec in specs:
        reach(point, spec.name)


def _invalidation(spec: JobSpec, ids: Ids) -> Invalidation:
    keys = None if isinstance(ids, EveryKey) or not spec.keyed else list(_keys(spec, ids))
    return Invalidation(store=spec.store, keys=keys)


def _keys(spec: JobSpec, ids: Iterable[Id]) -> Iterable[str]:
    for id in ids:
        try:
            yield spec.key.key(id)
        except InvalidId:
            continue  # it never was the id of a key
