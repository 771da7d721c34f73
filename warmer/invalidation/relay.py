"""The relay applies the records that no process, or only one with another fingerprint, has applied.

These are changes of other programs, stored procedures and killed processes, and changes from the time when a
cache was down. A worker, or `manage.py warm_listen`, calls `poll` twice a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from django.db import Error, close_old_connections, connections

from warmer.exceptions import StoreUnavailable
from warmer.invalidation import records
from warmer.invalidation.apply import apply, has_other_cache
from warmer.invalidation.databases import are_kept, read_committed, written
from warmer.invalidation.failovers import Failovers
from warmer.invalidation.records import Record, fingerprint
from warmer.report import describe

logger = logging.getLogger(__name__)


FAILOVERS = ""
"""In the place of a database's name."""
PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# How often to look whether the caches answer again, which costs a call to each.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """Why a database was left alone, for how many seconds, and until when on the monotonic clock."""

    why: str = ""
    pause: float = PAUSE_SECONDS
    until: float = 0.0


_NO_FAILURE = _Failure()


class Relay:
    """Applies pending changes, and remembers which records that others have applied it has applied too.

    Those are the records of other fingerprints, and for a while after a failover of a cache all records.
    """

    def __init__(self) -> None:
        self._failovers = Failovers()
        self._replayed: dict[str, frozenset[int]] = {}

    def run(
        self,
        wait: Callable[[float], bool],
        *,
        polling: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Poll until told to stop. A database that fails is left alone, twice as long each time.

        Args:
            wait: waits for some seconds; returns whether to stop.
            polling: makes what is held while a database is asked.
        """
        failures: dict[str, _Failure] = {}
        while True:
            for using in (FAILOVERS, *written()):
                before = failures.get(using, _NO_FAILURE)
                if time.monotonic() < before.until:
                    continue
                try:
                    with polling():
                        if using:
                            self.poll(using)
                        elif self.notice() or before.why:  # old values must not wait for the end of a pause
                            failures = {each: replace(failures[each], until=0.0) for each in failures}
                    if failures.pop(using, None) and using:
                        logger.info("Waiting changes on %r are applied again", using)
                except Exception as error:  # noqa: BLE001 - nobody else would go on
                    if describe(error) != before.why:
                        what = f"Changes on {using!r}" if using else "Changes that a failover of a cache lost"
                        logger.warning("%s wait, and are tried again: %s", what, describe(error))
                    longest = LONGEST_PAUSE_SECONDS if using else LOOK_SECONDS
                    pause = min(2 * before.pause, longest)
                    until = time.monotonic() + pause
                    failures[using] = _Failure(why=describe(error), pause=pause, until=until)
                    close_old_connections()
            if wait(PAUSE_SECONDS):
                return

    def notice(self) -> bool:
        """Invalidate what another server behind a cache may have lost; return whether there was one.

        Raises:
            StoreUnavailable: a cache does not answer.
            Error: the database does not answer.
        """
        return self._failovers.mend()

    def poll(self, *using: str) -> int:
        """Apply the pending changes of some databases, by default of every one; return their number.

        Raises:
            StoreUnavailable: a cache does not answer; its changes wait.
            Error: a database does not answer. The others are polled.
        """
        done, failed = 0, None
        for alias in using or written():
            try:
                done += self._poll_one(alias) if are_kept(alias) else 0
            except (StoreUnavailable, Error) as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return done

    def _poll_one(self, using: str) -> int:
        done, failed, replayed = 0, None, set[int]()
        known = self._replayed.get(using, frozenset())
        again = time.monotonic() < self._failovers.replays_until
        for page in _pages(using, again=again):
            replayed.update(each.id for each in page if again or each.is_applied)
            waiting = [each.id for each in page if not each.is_applied]
            new = [each for each in page if each.id not in known]
            try:
                if new:
                    apply(new, using=using, sweep=True, lag=records.age_of(new[0], using=using))
            except StoreUnavailable as error:
                replayed -= {each.id for each in new}
                failed = failed or error
                continue
            if waiting and has_other_cache(ask=True):
                replayed.update(waiting)
            else:
                records.mark(waiting, using=using)
            done += len(new)
        self._replayed[using] = frozenset(replayed) or known  # none were read while another process polled
        records.purge_if_due(using, thoroughly=True)
        if failed is not None:
            raise failed
        return done


def _pages(using: str, *, again: bool) -> Iterator[list[Record]]:
    """Yield pending records page by page; none while another process with our fingerprint reads some.

    They are applied outside the transaction that reads them, because sweeping keys may take long.
    """
    above = 0
    while True:
        with read_committed(using, transaction_wanted=True):
            is_alone = _is_alone(connections[using])
            page = records.read(using=using, above=above, again=again) if is_alone else []
        if len(page) == records.PAGE and not above and records.collapse(using=using):
            continue  # there are fewer now
        if page:
            yield page
        if len(page) < records.PAGE:
            return
        above = page[-1].id


def _is_alone(connection: Any) -> bool:
    """Lock polling for our fingerprint until the end of the transaction; return whether it was free."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [int(fingerprint(), 16) - 2**63])
        return bool(cursor.fetchone()[0])
