"""The relay applies changes that no process, or only one with another fingerprint, has applied.

These are changes of other programs, stored procedures and killed processes, changes made while a cache was
down, and changes that a cache lost: a promoted replica, or a server that restarts from its disk, may lack
acknowledged invalidations. Each worker, or `manage.py warm_listen`, runs a relay.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from math import inf
from typing import Any

from django.apps import apps
from django.db import close_old_connections, connections, router
from django.db.models import F
from django.db.models.functions import Now

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.invalidation import records, upkeep
from warmer.invalidation.apply import apply, invalidate_ids, other_cache, take_purge
from warmer.invalidation.recording import record_of_ids
from warmer.invalidation.records import Record, are_kept, ask_one, fingerprint, read_committed, written
from warmer.report import describe
from warmer.stores import Incarnation, incarnation_of

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
RETRY_SECONDS = 2.0


class Relay:
    """Applies pending changes, and remembers which records it applied after other processes had.

    These are the records of other fingerprints, and for a while after a failover of a cache all records,
    because other processes may still have reached the previous server.
    """

    def __init__(self) -> None:
        self._replayed: dict[str, frozenset[int]] = {}
        self._replays_until = -inf
        self._reached: dict[str, tuple[str, float]] = {}

    def run(
        self,
        wait: Callable[[float], bool],
        *,
        polling: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Apply pending changes twice a second, until told to stop.

        Args:
            wait: waits for some seconds; returns whether to stop.
            polling: makes a context that is held while a database is queried.
        """
        retry_at: dict[str, float] = {}
        while True:
            steps: dict[str, Callable[[], object]] = {"Changes that a failover of a cache lost": self.notice}
            steps |= {f"Changes on {using!r}": partial(self.poll, using) for using in written()}
            for what, step in steps.items():
                if time.monotonic() < retry_at.get(what, -inf):
                    continue
                try:
                    with polling():
                        step()
                    if retry_at.pop(what, None):
                        logger.info("%s are applied again", what)
                except Exception as error:  # noqa: BLE001 - the relay must go on
                    if what not in retry_at:
                        logger.warning("%s are pending and will be retried: %s", what, describe(error))
                    retry_at[what] = time.monotonic() + RETRY_SECONDS
                    close_old_connections()
            if wait(PAUSE_SECONDS):
                return

    def poll(self, *using: str) -> int:
        """Apply the pending changes of the given databases, by default of all; return their number.

        Raises:
            StoreUnavailable, Error: a cache or a database does not answer. The rest is applied anyway.
        """
        done, failed = records.visit(self._poll_one, using)
        for error in failed.values():
            raise error
        return sum(done.values())

    def _poll_one(self, using: str) -> int:
        done, above, is_last, failed, replayed = 0, 0, False, None, set[int]()
        known = self._replayed.get(using, frozenset())
        again = time.monotonic() < self._replays_until
        # Not until nothing waits: on a busy site, another change is always on its way.
        while not is_last and (page := _page(using, above=above, again=again)) != []:
            if page is None:  # the records that it applied may still be there
                replayed |= known
                break
            if not above and len(page) == records.PAGE and upkeep.collapse(using=using):
                continue  # there are fewer now
            above, is_last = page[-1].id, len(page) < records.PAGE
            waiting = [each.id for each in page if not each.is_applied]
            new = [each for each in page if each.id not in known]
            try:
                if new:
                    apply(new, using=using, sweep=True, lag=_age_of(new[0], using=using))
            except StoreUnavailable as error:  # the next page may be of jobs in another cache
                failed = error
                continue
            replayed.update(each.id for each in page if again or each.is_applied)
            if waiting and other_cache(ask=True):
                replayed.update(waiting)
            else:
                records.mark(waiting, using=using)
            done += len(new)
        self._replayed[using] = frozenset(replayed)
        # A read-only database would reject it, and the log say that changes are pending, although none are.
        if take_purge(using) and not upkeep.is_read_only(using):
            upkeep.purge(using=using, thoroughly=True)
            upkeep.collapse(using=using)  # also of jobs that are gone, whose triggers still record
        if failed is not None:
            raise failed
        return done

    def notice(self) -> None:
        """Invalidate everything that a new server behind a cache may have missed.

        Raises:
            StoreUnavailable, Error: a cache or the database does not answer. The next call tries again.
        """
        for alias in sorted({spec.cache for spec in jobs.specs()}):
            found = incarnation_of(alias)
            if found is None:
                continue
            before, at = self._reached.get(alias, ("", -inf))
            if before != found.id and _make_up_for(alias, found, time.monotonic() - at):
                self._replays_until = time.monotonic() + conf.REPLAY.total_seconds()
            self._reached[alias] = found.id, time.monotonic()


def _page(using: str, *, above: int, again: bool) -> list[Record] | None:
    """Return the next pending records; None while another process with our fingerprint is reading them.

    They are applied outside of the transaction that reads them, because sweeping keys may take long.
    """
    lock = f"SELECT pg_try_advisory_xact_lock({int(fingerprint(), 16) - 2**63})"
    with read_committed(using, transaction_wanted=True):
        if connections[using].vendor == "postgresql" and not ask_one(connections[using], lock):
            return None
        return records.read(using=using, above=above, again=again)


def _age_of(record: Record, *, using: str) -> timedelta:
    """Return how long ago a record was written; zero if it is gone."""
    row = records.rows_of(using).filter(pk=record.id)
    with read_committed(using):
        # By the database's clock: with USE_TZ off, its times differ from ours.
        age = row.values_list(Now() - F("recorded_at"), flat=True).first()
    return max(age, timedelta(0)) if age else timedelta(0)


# -- failovers and crashes of a cache -------------------------------------------------------------------
def on_migrated(*, using: str, plan: Sequence[Any] | None = None, **_kwargs: Any) -> None:
    """`post_migrate`: record the servers of new jobs, before the release that declares them is live.

    Args:
        plan: the applied migrations; None: the tables were flushed.
    """
    servers = apps.get_model("warmer", "JobServers").objects
    if plan is None or using != router.db_for_write(servers.model) or not are_kept(using):
        return
    for alias in sorted({spec.cache for spec in jobs.specs()}):
        if found := incarnation_of(alias):
            servers.begin(found.id, [spec.name for spec in jobs.specs() if spec.cache == alias])


def _make_up_for(alias: str, found: Incarnation, age: float) -> bool:
    """Invalidate the jobs of a cache that are not known on this incarnation; return whether there were any.

    The database records the incarnations on which each job was invalidated, so only one worker acts, and a
    worker that starts later compares too. A job without any may have been read before the first worker ran.

    Args:
        age: how many seconds ago this process reached another incarnation; infinite: it has just started.
    """
    specs = {spec.name: spec for spec in jobs.specs() if spec.cache == alias}
    servers = apps.get_model("warmer", "JobServers").objects
    with servers.reached(found.id, list(specs), is_change=age < inf) as before:
        is_known = any(found.id in others for others in before.values())
        has_just_started = found.uptime <= age + 1 and not is_known  # both times are rounded
        if not before or (found.began_empty and has_just_started):
            return False
        affected = [specs[name] for name in before]
        for spec in affected:  # a token of the previous server may carry a count from a clock that was ahead
            spec.store.forget()
        # The other half covers what the log is missing, and the purge of records.
        replay = conf.REPLAY.total_seconds()
        is_covered = found.read_log and has_just_started and age < replay / 2
        if is_covered and records.captures_by_triggers():
            done = f"the changes of the last {replay:g} s are applied again"
            for using in filter(are_kept, written()):
                _record_again(using)
        else:
            done = f"every key of {len(affected)} jobs is invalidated"
            _record_all(affected)
        why = "was replaced, restarted or promoted" if any(before.values()) else "was not watched before"
        logger.warning("The server of the cache %r %s, and may lack invalidations: %s", alias, why, done)
        return True


def _record_again(using: str) -> None:
    """Record the changes that were applied within the last `WARMER_REPLAY` once more."""
    columns = ", ".join(map(connections[using].ops.quote_name, ("source", "key", "rows")))
    chosen = f"SELECT {columns} FROM {records.TABLE} WHERE applied_at IS NOT NULL"
    with connections[using].cursor() as cursor:
        cursor.execute(f"INSERT INTO {records.TABLE} ({columns}) {chosen}")


def _record_all(specs: Collection[JobSpec]) -> None:
    """Record that every key of jobs is invalid, or invalidate them where nothing is recorded."""
    using = router.db_for_write(apps.get_model("warmer", "ChangeRecord"))
    if are_kept(using):
        records.write([record_of_ids(spec, None) for spec in specs], using=using)
    else:
        invalidate_ids(dict.fromkeys(specs, None), sweep=True)
