"""The relay: what nobody applied, and what a process with another fingerprint applied, is applied here.

Changes of other programs, of stored procedures and of killed processes reach the cache by it, and those that
a cache did not take. A worker, or `manage.py warm_listen`, calls `poll` a few times a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import close_old_connections, connections, transaction

from warmer.exceptions import StoreUnavailable
from warmer.invalidation import records
from warmer.invalidation.apply import apply, purge_if_due
from warmer.invalidation.fingerprint import fingerprint
from warmer.invalidation.records import PAGE
from warmer.invalidation.transactions import watcher
from warmer.report import describe

logger = logging.getLogger(__name__)


PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


class Relay:
    """Applies waiting changes, again and again. It remembers which of others it has applied once more."""

    def __init__(self) -> None:
        self._replayed: dict[str, frozenset[int]] = {}

    def run(
        self, wait: Callable[[float], bool], *, polling: AbstractContextManager[Any] | None = None
    ) -> None:
        """Poll until told to stop. While a cache or a database is away, the pauses double to half a minute.

        Args:
            wait: waits for some seconds; returns whether to stop.
            polling: held while the database is asked.
        """
        pause, failed = PAUSE_SECONDS, ""
        while True:
            try:
                with polling or nullcontext():
                    self.poll()
                if failed:
                    logger.info("Waiting changes are applied again")
                pause, failed = PAUSE_SECONDS, ""
            except Exception as error:  # noqa: BLE001 - nobody else would go on
                if describe(error) != failed:
                    failed = describe(error)
                    logger.warning("Changes wait, and are tried again: %s", failed)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                close_old_connections()
            if wait(pause):
                return

    def poll(self) -> int:
        """Apply what waits on every database; return how many changes that were.

        Raises:
            StoreUnavailable: a cache does not answer; its changes wait.
            Error: a database does not answer.
        """
        return sum(self._poll_one(using) for using in records.aliases())

    def _poll_one(self, using: str) -> int:
        done, failed = 0, None
        with watcher(using).quiet(), _alone(using) as is_alone:
            if not is_alone:
                return 0
            try:
                done = self._apply_waiting(using) + self._apply_once_more(using)
            except StoreUnavailable as error:  # raised after the commit of what it counts
                failed = error
                records.count_failure(using=using)
            purge_if_due(using)
        if failed is not None:
            raise failed
        return done

    def _apply_waiting(self, using: str) -> int:
        done = above = 0
        while page := records.waiting(using=using, above=above):
            if len(page) == PAGE and not above and records.collapse(using=using):
                continue  # there are fewer now
            above = page[-1].id
            lag = records.age(page[0], using=using)
            apply(page, using=using, sweep=True, lag=lag)
            records.mark([each.id for each in page], using=using, fingerprint=fingerprint())
            done += len(page)
        return done

    def _apply_once_more(self, using: str) -> int:
        """Apply what others applied who cannot have reached all that this process keeps."""
        known = self._replayed.get(using, frozenset())
        found: set[int] = set()
        done = above = 0
        while page := records.applied_elsewhere(using=using, above=above, fingerprint=fingerprint()):
            above = page[-1].id
            new = [each for each in page if each.id not in known]
            if new:
                apply(new, using=using, sweep=True, lag=records.age(new[0], using=using))
            found.update(each.id for each in page)
            done += len(new)
        self._replayed[using] = frozenset(found)
        return done


@contextmanager
def _alone(using: str) -> Iterator[bool]:
    """Yield whether no other process with the same fingerprint polls this database just now."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        yield True
        return
    number = int(fingerprint(), 16) - 2**63
    with records.read_committed(using), transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        yield cursor.fetchone()[0]
