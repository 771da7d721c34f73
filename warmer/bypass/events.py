"""What happens on a connection: writes, and what may match them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from django.db.transaction import Atomic

from warmer.bypass.modes import Mode, mode
from warmer.bypass.origins import Origin, is_running
from warmer.registry import Concern
from warmer.spec import JobSpec

# Without a transaction, how long the match of a write may take while its function is running: a daemon's
# function may never end. A whole job that goes for nothing costs less than one that stays wrong.
PATIENCE_SECONDS: dict[Mode, float] = {"warn": 60.0, "raise": 60.0, "invalidate": 1.0, "off": 0.0}

_numbers = count(1)


@dataclass(eq=False, kw_only=True)
class Event:
    """What happened on a connection.

    Attributes:
        number: in which order.
        root: the outermost block of its transaction, as `root_of` returns it.
    """

    number: int = field(default_factory=lambda: next(_numbers))
    root: Atomic | None

    @property
    def what(self) -> Any:
        """What happened. Of events inside one transaction that say the same, one is enough."""
        raise NotImplementedError


@dataclass(eq=False, kw_only=True)
class Write(Event):
    """A statement that changed a table.

    Attributes:
        concerns: those that nothing has matched for good; none when it was judged.
    """

    table: str
    verb: str
    origin: Origin
    concerns: tuple[Concern, ...]
    at: float = field(default_factory=time.monotonic)

    @property
    def what(self) -> Any:
        return self.table, self.verb, self.origin.told or (self.origin.path, self.origin.line)

    def repeats(self, other: Write) -> bool:
        """Say whether whatever matches the other from now on matches this one as well."""
        same = self.what == other.what and self.origin.work == other.origin.work
        return same and self.concerns == other.concerns

    def left(self, matches: Iterable[Match]) -> tuple[Concern, ...]:
        """Return the concerns that nothing matches."""
        left = self.concerns
        for match in matches:
            same = match.root is not None and match.root is self.root
            if (match.by_hand or self.origin.told) and (same or match.number > self.number):
                left = tuple(concern for concern in left if not match.fits(concern))
        return left

    def is_over(self, connection: Any) -> bool:
        """Say whether its transaction has ended."""
        return not any(block is self.root for block in connection.atomic_blocks)

    def is_late(self) -> bool:
        """Say whether its match would have come by now."""
        return not is_running(self.origin.work) or time.monotonic() - self.at > PATIENCE_SECONDS[mode()]


@dataclass(eq=False, kw_only=True)
class Match(Event):
    """Something that was recorded to be invalidated."""

    concern: Concern | None
    spec: JobSpec
    by_hand: bool

    @property
    def what(self) -> Any:
        return self.concern, self.spec, self.by_hand

    def fits(self, concern: Concern) -> bool:
        """Say whether it is what a change of the concern's table asks for.

        Who invalidates by hand may name the rows of another model that the job depends on.
        """
        if concern.spec is not self.spec:
            return False
        mine = self.concern
        return self.by_hand or (mine is not None and concern.declared == mine.declared)


def root_of(connection: Any) -> Atomic | None:
    """Return the outermost block of the open transaction, but for those of a test case; None without one."""
    return next((block for block in connection.atomic_blocks if not block._from_testcase), None)
