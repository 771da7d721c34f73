"""Tokens, and claims: which reader loads a missing key, so that the others can wait for it.

A claim is a short-lived record next to its key. It is valid as long as a write with its token would pass the
fence, so an invalidation of the key voids it. It does not replace the fence: losing a claim costs a second
load, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The holder of a claim whose load has ended without a value.
NOBODY = "-"
# How long that is kept for waiting readers: longer than the pause between two polls, even on a busy machine.
NOTE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Token:
    """The state of a fence before a load; a write passes it to prove that nothing overtook the load.

    Attributes:
        slots: on a cluster, the state of the fence of each slot.
    """

    generation: str
    counter: int = 0
    slots: Mapping[int, Token] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The answer to a reader that wants to load keys.

    Attributes:
        id: the holder of the claim.
        token: the fence's state when the claim was made.
        mine: the keys that this reader has to load.
        theirs: the keys that others are loading, with the ids of their claims.
        values: values that have been cached in the meantime.
        absent: the keys now known to have no value.
    """

    id: str
    token: Token
    mine: tuple[str, ...]
    theirs: Mapping[str, str]
    values: Mapping[str, Any]
    absent: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a claim next to its key, as text.

    Attributes:
        holder: the id of the claim; `NOBODY` when its load is over and found no value.
        token: the fence's state when the claim was made.
        after_absence: whether the previous load found no value, so that a reader that waited for it learns
            its result even after the next one has begun.
    """

    holder: str
    token: Token
    after_absence: bool = False

    def __str__(self) -> str:
        token = self.token
        return f"{self.holder} {token.generation} {token.counter} {int(self.after_absence)}"

    @classmethod
    def parse(cls, text: str | bytes) -> Record | None:
        """Read a record; None: it is not one of ours."""
        parts = (text.decode(errors="replace") if isinstance(text, bytes) else text).split(" ")
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        token = Token(generation=parts[1], counter=int(parts[2]))
        return cls(holder=parts[0], token=token, after_absence=parts[3] == "1")

    def tells_absence_to(self, awaited: str) -> bool:
        """Return whether the load of the claim `awaited`, or a later one, found no value."""
        return self.after_absence and self.holder != awaited
