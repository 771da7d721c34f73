"""What is counted of a request's use of the caches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a cache was used.

    Attributes:
        calls: how often it was called: on a server, round trips.
        hits, misses: of the keys that were looked for, how many were there and how many not.
        seconds: how long the calls took together, also where they overlapped.
    """

    calls: int = 0
    hits: int = 0
    misses: int = 0
    seconds: float = 0.0

    def __add__(self, other: Use) -> Use:
        return Use(
            calls=self.calls + other.calls,
            hits=self.hits + other.hits,
            misses=self.misses + other.misses,
            seconds=self.seconds + other.seconds,
        )

    def __str__(self) -> str:
        return ", ".join(
            (
                _count(self.calls, "call", "calls"),
                _count(self.hits, "hit", "hits"),
                _count(self.misses, "miss", "misses"),
            )
        )


class Counts:
    """The use of each cache so far, added up from whatever threads and tasks share a request."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._uses: dict[str, Use] = {}

    def called(self, alias: str, seconds: float) -> None:
        """Count a call."""
        self._add(alias, Use(calls=1, seconds=seconds))

    def looked(self, alias: str, *, asked: int, found: int) -> None:
        """Count what a call looked for."""
        self._add(alias, Use(hits=found, misses=asked - found))

    @property
    def uses(self) -> Mapping[str, Use]:
        """The use of each cache, by its alias."""
        with self._lock:
            return dict(self._uses)

    @property
    def total(self) -> Use:
        """The use of all caches."""
        return sum(self.uses.values(), Use())

    def _add(self, alias: str, use: Use) -> None:
        with self._lock:
            self._uses[alias] = self._uses.get(alias, Use()) + use


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
