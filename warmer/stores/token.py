"""A fence's token."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Token:
    """The state of a fence before a load; a write shows it, to prove that nothing overtook it."""

    generation: str
    counter: int = 0
