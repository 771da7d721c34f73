"""A circuit breaker per cache and process, which suspends calls to an unresponsive cache.

Without it, every read of a page would wait for the time-out of a hanging server. A failure opens the circuit:
calls fail immediately, except for one probe whenever the wait is over. The wait doubles with each failed
probe. The first successful call closes the circuit.
"""

import logging
import os
from collections.abc import Mapping
from threading import RLock
from time import monotonic
from typing import Any

from django.conf import settings

from warmer.exceptions import CircuitOpen
from warmer.humanize import counted
from warmer.report import describe

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 1.0
# While the circuit is open, the number of skipped calls is logged once per this many seconds.
LOG_SECONDS = 10.0


class Breaker:
    """The state of one cache in this process. A closed circuit costs a caller one lookup of `is_open`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.close()

    def close(self) -> None:
        """Reset the state, e.g. after a fork, when a lock may be held by a thread that no longer exists."""
        self._lock = RLock()
        self.is_open = False

    def failed(self, error: BaseException) -> None:
        """Open the circuit, or keep it open: the cache did not answer a call.

        A time-out of redis-py while it sends does not open it: the values may be too long for the network,
        and shorter calls show whether the server hangs.
        """
        with self._lock:
            now = monotonic()
            if not self.is_open and str(error).startswith("Timeout writing"):
                return
            if not self.is_open:
                self._wait, self._is_probed, self._refused = FIRST_WAIT_SECONDS, False, 0
                self._error, self._cause = describe(error), type(error).__name__
                self._refusal = f"{self.name} does not answer, so calls to it are suspended: {self._error}"
                self._opened_at = self._logged_at = now
                self.is_open = True
                logger.warning(self._refusal)
            elif self._is_probed:
                self._is_probed = False
                self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)
            else:
                return  # the call began before the circuit opened
            self._probes_at = now + self._wait

    def succeeded(self) -> None:
        """Close the circuit: the cache answered a call."""
        with self._lock:
            if self.is_open:
                self.is_open = False
                # Without calls nothing is noticed: the cache may have been back for most of this time.
                logger.warning(
                    "%s answers again; this process skipped %s since the first failure %.1f s ago",
                    *(self.name, counted(self._refused, "call"), monotonic() - self._opened_at),
                )

    def admit(self) -> None:
        """Return if a call may be made: the circuit is closed, or this call is the next probe.

        Raises:
            CircuitOpen: it may not.
        """
        with self._lock:
            if self.refuses():
                raise CircuitOpen(self._refusal, cause=self._cause)
            if self.is_open:
                self._is_probed = True
                # If this call's result is never reported.
                self._probes_at = monotonic() + LONGEST_WAIT_SECONDS

    def refuses(self) -> bool:
        """Return whether a call is refused now; cheaper than the error that `admit` raises."""
        with self._lock:
            now = monotonic()
            if not self.is_open or now >= self._probes_at:
                return False
            self._refused += 1
            if now - self._logged_at >= LOG_SECONDS:
                self._logged_at = now
                logger.warning(
                    "%s has not answered for %.0f s; this process skipped %s: %s",
                    *(self.name, now - self._opened_at, counted(self._refused, "call"), self._error),
                )
            return True


_breakers: dict[str, Breaker] = {}


def breaker_of(alias: str) -> Breaker:
    """Return the breaker of this process for a cache, shared with other caches in the same place."""
    return breaker_at(*_place(settings.CACHES[alias]))


def breaker_at(location: Any, sentinels: Any = None) -> Breaker:
    """Return the breaker of this process for the caches at a `LOCATION` of `CACHES`.

    Args:
        sentinels: `SENTINELS` of its `OPTIONS`: behind them, the location has only the name of the master.
    """
    place = (location, sentinels)
    key = str(place)
    if key not in _breakers:
        names = [repr(alias) for alias, each in settings.CACHES.items() if _place(each) == place]
        _breakers.setdefault(key, Breaker(f"The cache {', '.join(names)}"))
    return _breakers[key]


def _place(cache: Mapping[str, Any]) -> tuple[Any, Any]:
    return cache.get("LOCATION"), (cache.get("OPTIONS") or {}).get("SENTINELS")


def forget() -> None:
    """Close every circuit: a forked process starts with a clean state."""
    for breaker in _breakers.values():
        breaker.close()


os.register_at_fork(after_in_child=forget)
