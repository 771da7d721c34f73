"""Tokens, and claims: which reader loads a missing key, so that the others can wait for it.

A claim is a short-lived record beside its key. It stands as long as a write after its token would pass the
fence, so an invalidation of the key voids it. It never takes the fence's place: a claim that is lost costs
a second load, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The holder of a claim whose load is over, and found no value.
NOBODY = "-"
# How long waiting readers can learn that: longer than they pause between two looks, on a busy machine too.
NOTE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Token:
    """The state of a fence before a load; a write shows it, to prove that nothing overtook it."""

    generation: str
    counter: int = 0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The answer to a reader who asked to load some keys.

    Attributes:
        id: who holds the claim.
        token: the fence's state when it was made.
        mine: the keys that this reader shall load.
        theirs: the keys that others are loading, with the ids of their claims.
        values: what is cached by now.
        absent: the keys that are known by now to have no value.
    """

    id: str
    token: Token
    mine: tuple[str, ...]
    theirs: Mapping[str, str]
    values: Mapping[str, Any]
    absent: frozenset[str]

    def __add__(self, other: Claim) -> Claim:
        """Join the answer about further keys; the earlier token holds for all."""
        return Claim(
            id=self.id,
            token=self.token,
            mine=self.mine + other.mine,
            theirs={**self.theirs, **other.theirs},
            values={**self.values, **other.values},
            absent=self.absent | other.absent,
        )


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept beside a key that is being loaded, as text.

    Attributes:
        holder: the id of the claim; `NOBODY` when its load is over and found no value.
        token: the fence's state when the claim was made.
        after_absence: whether the load before this one found no value. So a reader who waited for that
            one learns how it ended, also when the next one has begun.
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
