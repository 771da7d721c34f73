"""Count cache calls in this context. Costs one lookup if nothing observes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from threading import Lock
from time import perf_counter


@dataclass(frozen=True, kw_only=True)
class Use:
    """The use of a cache: its calls (for a server, round trips), how many of the requested keys were found or
    missing, and the total duration of the calls, even if they overlapped.
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
"""The counter for calls in this context; None: calls are not counted."""


@contextmanager
def called(alias: str) -> Iterator[None]:
    """Count a block as one call, including any calls that it makes."""
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
    """Count a lookup of keys."""
    use = observer.get()
    if use is not None:
        use.add(alias, Use(hits=found, misses=keys - found))
