"""Readings of a server: one is kept on it, so that a later run of the doctor can tell how things changed."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from warmer.exceptions import CommandRefused, StoreUnavailable

if TYPE_CHECKING:
    from warmer.stores.inspection import Server

KEY = "warmer-doctor:reading"
DAY = 86_400
# A trend needs some time between two readings.
SHORTEST_SPAN = 600


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A server's memory and evictions at one time.

    Attributes:
        at: the server's time, in seconds since 1970.
        run_id: the server's name for its process; a restart changes it, and counters start again.
    """

    at: float
    run_id: str
    used: int
    evicted: int


def take_readings(server: Server) -> tuple[Reading, Reading | None]:
    """Return a server's reading now, and the kept one if it is of the same process and old enough.

    The kept one is replaced when it is a day old.
    """
    seconds, micros = server.ask("TIME")
    found = server.info
    now = Reading(
        at=int(seconds) + int(micros) / 1e6,
        run_id=str(found["run_id"]),
        used=int(found["used_memory"]),
        evicted=int(found["evicted_keys"]),
    )
    text = server.ask("GET", KEY)
    kept = Reading(**json.loads(text)) if text else None
    if kept is None or kept.run_id != now.run_id or now.at - kept.at >= DAY:
        with suppress(StoreUnavailable, CommandRefused):  # e.g. it is full, which is for another check
            server.ask("SET", KEY, json.dumps(asdict(now)), "EX", 3 * DAY)
    is_old_enough = kept is not None and kept.run_id == now.run_id and now.at - kept.at >= SHORTEST_SPAN
    return now, kept if is_old_enough else None
