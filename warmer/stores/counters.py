"""Read counts of a job, as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from zlib import crc32


def in_sample(key: str, every: int) -> bool:
    """Return whether a key is in the hash sample of one key in `every`, the same in all processes."""
    return crc32(key.encode()) % every == 0


@dataclass(kw_only=True)
class Counted:
    """The counts of one process for one job since its last flush.

    Attributes:
        counts: name -> how many.
        read: the keys that were read and found.
        missed: key -> how many reads of it missed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    read: set[str] = field(default_factory=set)
    missed: Counter[str] = field(default_factory=Counter)

    def of_sample(self, every: int) -> Counted:
        """Return the same counts with only the keys of a hash sample (0: no keys)."""
        return Counted(
            counts=self.counts,
            read={key for key in self.read if every and in_sample(key, every)},
            missed=Counter({key: n for key, n in self.missed.items() if every and in_sample(key, every)}),
        )

    def add(self, other: Counted) -> None:
        """Add further counts."""
        self.counts += other.counts
        self.read |= other.read
        self.missed += other.missed


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Since when a key has been watched, and when it was last read (0: never), in seconds since the epoch."""

    since: float
    read_at: float
