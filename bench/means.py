"""What each library does in `bench.peers`: the same profiles, by the same loader, in its own way."""

from __future__ import annotations

import resource
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.profiles import Profile, load

STATUS = Path("/proc/self/status")


class Means(ABC):
    """One library's way to warm all profiles and to read one; it lives in a worker."""

    # While it is, what is read comes from the cache.
    loading: ClassVar[bool] = True

    @abstractmethod
    def warm_all(self) -> None:
        """Put the profile of every active user into the cache."""

    @abstractmethod
    def read(self, id: int) -> Any:
        """Return a profile."""

    def warm(self) -> int:
        """Warm; return the most memory that this process has had so far, in bytes."""
        self.warm_all()
        return _most_memory()

    def wrong(self, ids: Sequence[int]) -> list[int]:
        """Return the ids whose profiles are not cached as they are."""
        expected = load(ids)
        Means.loading = False
        try:
            return [id for id in ids if self._cached(id) != expected[id]]
        finally:
            Means.loading = True

    def _cached(self, id: int) -> Any:
        try:
            return self.read(id)
        except NotCached:
            return None


def _most_memory() -> int:
    # Linux lets a process begin with its parent's `ru_maxrss`.
    if STATUS.exists():
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class NotCached(Exception):
    """The loader was called for what should be cached."""


def load_some(ids: Sequence[int]) -> dict[int, Profile]:
    """Load profiles in one query."""
    if not Means.loading:
        raise NotCached
    return load(ids)


def load_one(id: int) -> Profile:
    """Load one profile."""
    return load_some([id])[id]
