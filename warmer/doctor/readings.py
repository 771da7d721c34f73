"""Readings of a server, kept on it, so that the next look can tell how things went meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from warmer.doctor.words import DAY, MINUTE

if TYPE_CHECKING:
    from warmer.stores.inspection import Server

NAME = "readings"
# A trend needs some time between two looks; a day shows the daily rise and fall.
SHORTEST_SPAN = 10 * MINUTE
LONGEST_SPAN = DAY
# About 130 bytes each: a look every 15 minutes fits, and the key stays small.
MOST = 100


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a server said of itself at one time.

    Attributes:
        at: the server's time, in seconds since 1970.
        run: the server's name for its own process: another after a restart, when counters begin anew.
    """

    at: float
    run: str
    used: int
    evicted: int


def now(server: Server) -> Reading:
    """Read a server."""
    info = server.info
    return Reading(
        at=server.clock(),
        run=str(info["run_id"]),
        used=int(info["used_memory"]),
        evicted=int(info["evicted_keys"]),
    )


def before(server: Server, reading: Reading) -> Reading | None:
    """Return the oldest reading of the last day since the server's start; None: there is none that is
    old enough to compare with."""
    for each in _kept(server):
        age = reading.at - each.at
        if each.run == reading.run and SHORTEST_SPAN <= age <= LONGEST_SPAN:
            return each
    return None


def keep(server: Server, reading: Reading) -> None:
    """Write a reading down, unless the last one is only just there."""
    kept = [each for each in _kept(server) if reading.at - each.at <= LONGEST_SPAN]
    if kept and kept[-1].run == reading.run and reading.at - kept[-1].at < SHORTEST_SPAN:
        return
    text = json.dumps([asdict(each) for each in (*kept, reading)[-MOST:]])
    server.write_down(NAME, text, seconds=int(2 * LONGEST_SPAN))


def _kept(server: Server) -> Sequence[Reading]:
    try:
        rows: Any = json.loads(server.note(NAME) or "[]")
        return [Reading(**row) for row in rows if isinstance(row, Mapping)]
    except (ValueError, TypeError):
        return []  # another release wrote it
