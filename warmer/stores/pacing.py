"""Turns at a steady pace among the threads of this process, for caches that cannot share them."""

from __future__ import annotations

from threading import Lock
from time import monotonic

_lock = Lock()
_next: dict[str, float] = {}


def local_turn(name: str, per_second: float) -> float:
    """Take the next turn; return the seconds until then."""
    with _lock:
        now = monotonic()
        at = max(_next.get(name, now), now)
        _next[name] = at + 1 / per_second
    return at - now
