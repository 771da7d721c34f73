"""The interface of what readers count of a job, for all processes together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# What is counted by the hour, too.
HITS, MISSES = "hits", "misses"


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What one process counted of one job since it last told.

    Attributes:
        at: when it tells, in seconds of the epoch.
        counts: name -> how many more.
        panel: the panel that it watched; empty: none.
        panel_read: the panel's keys that it saw read for the first time.
        panel_misses: how many more reads of the panel's keys missed.
    """

    tallies: Tallies
    at: float
    counts: Mapping[str, int]
    panel: str = ""
    panel_read: Collection[str] = ()
    panel_misses: int = 0


@dataclass(frozen=True, kw_only=True)
class Recent:
    """The reads of the last hour and day (each to five minutes), and the panel that is watched now."""

    hits_hour: int = 0
    misses_hour: int = 0
    hits_day: int = 0
    misses_day: int = 0
    panel: str = ""


@dataclass(frozen=True, kw_only=True)
class PanelResult:
    """What became of a panel: of so many warm keys so many were read; and reads of any that missed."""

    warm: int
    read: int
    misses: int


class Tallies(ABC):
    """One job's counts. Every method raises `StoreUnavailable` when the cache does not answer.

    Attributes:
        alias: the cache's name in `CACHES`.
    """

    alias: str

    @classmethod
    @abstractmethod
    def add(cls, counted: Sequence[Counted]) -> list[str]:
        """Add counts of several jobs of one cache, in one round trip.

        Returns:
            Of each job, the panel that readers shall watch; empty: none.
        """

    @classmethod
    @abstractmethod
    def totals(cls, tallies: Sequence[Tallies]) -> list[dict[str, int]]:
        """Return the totals of several jobs of one cache, in one round trip."""

    @abstractmethod
    def recent(self, now: float) -> Recent:
        """Return the counts of the last hour and day, in one round trip."""

    @abstractmethod
    def panel_keys(self, panel: str) -> frozenset[str]:
        """Return the keys of a panel."""

    @abstractmethod
    def draw_panel(self, panel: str, keys: Collection[str], warm: Collection[str], *, seconds: float) -> None:
        """Have readers watch some keys, of which some are warm; it is kept for `seconds`."""

    @abstractmethod
    def end_panel(self, panel: str) -> PanelResult | None:
        """Forget a panel, and return what became of it; None when the cache has lost it."""
