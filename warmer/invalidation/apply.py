"""Apply recorded changes: find their ids, invalidate the keys, mark the records."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from django.apps import apps
from django.db import Error, connections
from django.utils import timezone

from warmer import failpoints
from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, StoreUnavailable, log_level
from warmer.invalidation import records, upkeep
from warmer.invalidation.records import Record, are_kept, read_committed
from warmer.invalidation.resolve import Ids, resolve
from warmer.invalidation.sources import sources
from warmer.report import describe
from warmer.signals import keys_invalidated, pending_wanted, refresh_wanted
from warmer.stores import Invalidation, difference, invalidate_together

logger = logging.getLogger(__name__)

MOST = 5_000
"""How many records a process applies after its own commit: the newest. A worker applies the rest."""

floors: defaultdict[str, int] = defaultdict(int)
"""By database, the highest number of a record that this process has read: new records have higher ones."""


def apply(found: Sequence[Record], *, using: str, sweep: bool, lag: timedelta = timedelta(0)) -> bool:
    """Invalidate the keys that records of declared jobs affect; return whether everything is done.

    Args:
        found: the records.
        using: the database of the records.
        sweep: find and delete all keys of a job that is invalidated as a whole, which may take long. If not,
            and there is such a job, a worker has to do it.
        lag: how long ago the oldest record was committed.

    Raises:
        StoreUnavailable: a cache does not answer.
        Error: the database does not answer.
    """
    ids = resolve(found, using=using)
    for spec in ids if failpoints.hooks else ():
        failpoints.reach("committed", spec.name)
    return invalidate_ids(ids, sweep=sweep, lag=lag)


def invalidate_ids(ids: Mapping[JobSpec, Ids], *, sweep: bool, lag: timedelta = timedelta(0)) -> bool:
    """Invalidate ids of jobs as `apply` does, in one round trip for each cache, and send the signals.

    Raises:
        StoreUnavailable: a cache does not answer.
    """
    began = time.monotonic()
    invalidations = {spec: _invalidation(spec, each) for spec, each in ids.items()}
    invalidate_together(list(invalidations.values()))
    for spec in invalidations if failpoints.hooks else ():
        failpoints.reach("invalidated", spec.name)
    unswept = [spec for spec, each in invalidations.items() if each.keys is None and spec.keyed]
    if unswept and sweep:
        _sweep(unswept)
        if len(invalidations) > 1:
            # In the meantime, a loader may have read another job whose keys had not been swept yet.
            invalidate_together(list(invalidations.values()))
    lag += timedelta(seconds=time.monotonic() - began)
    for spec, each in invalidations.items():
        keys_invalidated.send_robust(spec, keys=each.keys, lag=lag)  # Django logs receivers that raise
        if spec.on_change == "refresh":
            refresh_wanted.send_robust(spec)
    return sweep or not unswept


def apply_committed(*, using: str, above: int) -> None:
    """Apply the changes that this process has just committed, and any others above the same record id.

    Never raises, because the change is committed. If applying fails, a worker does it later.
    """
    try:
        if are_kept(using):
            with read_committed(using):
                is_purge_due = take_purge(using)
                _apply_above(above, using, ask=is_purge_due)
                if is_purge_due:
                    upkeep.purge(using=using)
    except Exception as error:  # noqa: BLE001 - a loader's, a cache's, a database's
        _log_later(error)


def _apply_above(above: int, using: str, *, ask: bool) -> None:
    found = records.read_newest(using=using, above=above, at_most=MOST)
    highest = f"SELECT coalesce(max(id), {above:d}) FROM {records.TABLE}"
    if not found and above and records.ask_one(connections[using], highest) < above:
        # The database's record ids have started over, e.g. after a flush or a restore.
        floors.pop(using, None)
        found = records.read_newest(using=using, above=0, at_most=MOST)
    if not found:
        return
    if not connections[using].in_atomic_block:  # in a test case: its records are rolled back
        floors[using] = max(found[-1].id, floors[using])
    is_done = len(found) < MOST
    known = sources()
    page = [each for each in found if each.source in known.by_name or each.key in known.by_key]
    some = [each for each in page if each.rows is not None]
    whole = [each for each in page if each.rows is None]  # a worker has to sweep their keys
    for part in filter(None, (some, whole)):
        if not apply(part, using=using, sweep=False):
            is_done = False
        elif not other_cache(ask=ask):
            records.mark([each.id for each in part], using=using)
    if not is_done:
        pending_wanted.send_robust(None)  # if tasks run in process, this applies them now


def apply_unrecorded(found: Sequence[Record], *, using: str) -> None:
    """Apply committed changes that have no record. Never raises.

    If it fails, the change is recorded for a worker, if the database keeps records.
    """
    try:
        is_kept = are_kept(using)
        try:
            is_done = apply(found, using=using, sweep=not is_kept)
        except StoreUnavailable as error:
            if not is_kept:
                raise
            is_done = False
            _log_later(error)
        if not is_done:
            records.write(found, using=using)
            pending_wanted.send_robust(None)
    except (StoreUnavailable, Error) as error:
        logger.error(
            "Could not invalidate after a change, and nothing records it: old values stay until their "
            "timeout. Run 'manage.py cache_audit --repair' when the cache answers again: %s",
            describe(error),
        )


def _log_later(error: Exception) -> None:
    level = log_level(error, logging.ERROR)
    logger.log(level, "A change is recorded and a worker tries again to apply it: %s", describe(error))


# -- a different cache than the web processes' --------------------------------------------------------
_other_cache = ""
# The triggers of runs requested from outside the workers, and how long such a request counts.
_OUTSIDE = ("deploy", "command", "admin")
_SPAN = timedelta(days=1)


def other_cache(*, ask: bool) -> str:
    """Return how the cache of the last run that a deploy, a command or a user requested differs from ours.

    A database trigger does not know the cache, so a record does not say which one it is for. A process with a
    different cache than the web processes applies the records to its own, and leaves them unmarked for a
    process with the right one.

    Args:
        ask: query the database; otherwise return the last answer.
    """
    global _other_cache
    if not ask:
        return _other_cache
    runs = apps.get_model("warmer", "WarmingRun").objects  # models are not ready when this module is imported
    recent = runs.filter(requested_at__gt=timezone.now() - _SPAN, trigger__in=_OUTSIDE, job__in=list(jobs))
    run = recent.exclude(cache="").order_by("-requested_at").first()
    found = difference(run.cache, jobs[run.job].spec.cache) if run else ""
    if run and found and found != _other_cache:
        wait = "Recorded changes wait for a process with web's"
        logger.error("Web and this process use different caches for %s: %s. %s", run.job, found, wait)
    _other_cache = found
    return found


# -- the parts of an invalidation ---------------------------------------------------------------------
def _sweep(specs: Iterable[JobSpec]) -> None:
    """Find and delete all keys of jobs, which repairs those that an audit found wrong; raise errors last."""
    failed, began, swept = None, timezone.now(), []
    for spec in specs:
        try:
            spec.store.sweep()
            if spec.store.lists_keys:
                swept.append(spec.name)
        except StoreUnavailable as error:
            failed = error
    if swept:
        try:
            apps.get_model("warmer", "CacheAudit").objects.mark_repaired(swept, before=began)
        except Exception as error:  # noqa: BLE001 - e.g. Django's, in a test that may not query the database
            logger.warning("Repairs of %s are not recorded: %s", ", ".join(swept), describe(error))
    if failed is not None:
        raise failed


def _invalidation(spec: JobSpec, ids: Ids) -> Invalidation:
    # A single step would block the cache server. A cache that cannot list its keys would not find them.
    is_whole = ids is None or (len(ids) > conf.FENCE_RECORDS and spec.store.lists_keys)
    if is_whole and spec.keyed:
        return Invalidation(store=spec.store, keys=None)
    keys: list[str] = []
    for id in (ids or ()) if spec.keyed else (None,):
        with suppress(InvalidId):  # it was never the id of a key
            keys.append(spec.key.key(id))
    return Invalidation(store=spec.store, keys=keys)


_next_purge: dict[str, float] = {}


def take_purge(using: str) -> bool:
    """Return whether it is this caller's turn to purge a database, a few times within `WARMER_REPLAY`."""
    is_due = time.monotonic() >= _next_purge.get(using, 0.0)
    if is_due:
        _next_purge[using] = time.monotonic() + conf.REPLAY.total_seconds() / 4
    return is_due
