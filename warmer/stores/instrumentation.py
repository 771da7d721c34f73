"""Count the calls to the caches in this context. Where nothing observes it, this costs one lookup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from threading import Lock
from time import perf_counter


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a cache was used.

    Attributes:
        calls: how often it was called: on a server, round trips.
        hits, misses: how many of the looked-up keys were found, and how many were not.
        seconds: how long the calls took together, also where they overlapped.
    """

    calls: int = 0
    hits: int = 0
    misses: int = 0
    seconds: float = 0.0

    def __add__(self, other: Use) -> Use:
        return Use(**{name: count + getattr(other, name) for name, count in asdict(self).items()})

    def __str__(self) -> str:
        words = (("call", "calls", self.calls), ("hit", "hits", self.hits), ("miss", "misses", self.misses))
        return ", ".join(f"{number:,} {one if number == 1 else many}" for one, many, number in words)


class CacheUse:
    """The use of each cache so far, summed over the threads and tasks that share a context."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_alias: dict[str, Use] = {}

    def add(self, alias: str, use: Use) -> None:
        """Add to the use of a cache."""
        with self._lock:
            self._by_alias[alias] = self._by_alias.get(alias, Use()) + use

    @property
    def by_alias(self) -> Mapping[str, Use]:
        """The use of each cache."""
        with self._lock:
            return dict(self._by_alias)

    @property
    def total(self) -> Use:
        """The use of all caches."""
        return sum(self.by_alias.values(), Use())


observer: ContextVar[CacheUse | None] = ContextVar("warmer_observer", default=None)
"""Where the calls of this context are counted; None: nowhere."""
_hides_lookups: ContextVar[bool] = ContextVar("warmer_hides_lookups", default=False)


@contextmanager
def called(alias: str) -> Iterator[None]:
    """Count a block as one call; whatever calls the block makes are part of it."""
    use = observer.get()
    if use is None:
        yield
        return
    token = observer.set(None)
    started = perf_counter()
    try:
        yield
    finally:
        observer.reset(token)
        use.add(alias, Use(calls=1, seconds=perf_counter() - started))


def looked_up(alias: str, *, keys: int, found: int) -> None:
    """Count the lookup of some keys."""
    use = observer.get()
    if use is not None and not _hides_lookups.get():
        use.add(alias, Use(hits=found, misses=keys - found))


@contextmanager
def hidden_lookups() -> Iterator[None]:
    """Count the calls of a block, and not what it looks up."""
    token = _hides_lookups.set(True)
    try:
        yield
    finally:
        _hides_lookups.reset(token)
