"""Read counts of a job, as plain data and on its Redis server; each key expires when it is no longer written.

Next to the job's fence there are:

reads        a hash of totals, which only grow (until it is evicted, or not written for a week)
reads-<day>  a hash of one day's counts, by slots of five minutes
watched      a sorted set of times, for each watched key `since:<key>` and `read:<key>` (0: not yet), and of
             `every` (N): they are the declared keys in the hash sample of one key in N
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from typing import Any
from zlib import crc32

from warmer.keys import beside

if find_spec("redis"):
    from warmer.stores.redis.scripts import COUNT, Call

SLOT_SECONDS, DAY_SECONDS = 300, 86_400
DAY_LIFE_SECONDS = 3 * DAY_SECONDS  # today, tomorrow for the last reads, and a margin for clocks
TOTALS_LIFE_SECONDS = WATCHED_LIFE_SECONDS = 7 * DAY_SECONDS


def in_sample(key: str, every: int) -> bool:
    """Return whether a key is in the hash sample of one key in `every`, the same in all processes."""
    return crc32(key.encode()) % every == 0


@dataclass(kw_only=True)
class Counted:
    """The counts of a process for a job since its last flush, the keys found, and the misses of others."""

    counts: Counter[str] = field(default_factory=Counter)
    read: set[str] = field(default_factory=set)
    missed: Counter[str] = field(default_factory=Counter)

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


class RedisCounters:
    """One job's counts. Every method raises `StoreUnavailable` when the server does not answer.

    Args:
        server: makes a context with the client of the cache's server, for one call.
        fence: the name of the job's fence on the server.
    """

    def __init__(self, *, server: Callable[[], AbstractContextManager[Any]], fence: str) -> None:
        self._server = server
        self._totals = beside(fence, "reads")
        self._watched = beside(fence, "watched")
        self._fence = fence
        # One key in this many is in the watched hash sample, according to the last answer; 0: none is.
        self._every = 0

    def add(self, counted: Counted, *, now: float) -> None:
        """Add the counts of a process, and record which keys of the watched hash sample it read."""
        args = [int(now), int(now // SLOT_SECONDS), TOTALS_LIFE_SECONDS, DAY_LIFE_SECONDS]
        missed = {key: reads for key, reads in counted.missed.items() if self._is_sampled(key)}
        what = json.dumps({"counts": counted.counts, "missed": missed})
        keys = [self._totals, self._day(now), self._watched]
        with self._server() as server:
            call = Call(keys=keys, args=[*args, what, *filter(self._is_sampled, counted.read)])
            self._every = int(COUNT(call, server))

    @staticmethod
    def totals(counters: Sequence[RedisCounters]) -> list[dict[str, int]]:
        """Return the totals of several jobs of one cache, in one round trip."""
        with counters[0]._server() as server:
            pipeline = server.pipeline(transaction=False)
            for each in counters:
                pipeline.hgetall(each._totals)
            return [{name.decode(): int(n) for name, n in found.items()} for found in pipeline.execute()]

    def recent(self, now: float, *spans: timedelta) -> list[Counter[str]]:
        """Return the counts of periods that end now, at most a day long, accurate to five minutes."""
        with self._server() as server:
            pipeline = server.pipeline(transaction=False)
            pipeline.hgetall(self._day(now - DAY_SECONDS))
            pipeline.hgetall(self._day(now))
            slots = [item for day in pipeline.execute() for item in day.items()]
        recent = [Counter[str]() for _ in spans]
        for name, count in slots:
            slot, _, what = name.decode().partition(":")
            for counts, span in zip(recent, spans, strict=True):
                if now // SLOT_SECONDS - int(slot) < span.total_seconds() / SLOT_SECONDS:
                    counts[what] += int(count)
        return recent

    def watch(self, keys: Collection[str], *, every: int, now: float) -> dict[str, Watched]:
        """From now on record reads of these keys only; return what is known about them so far.

        They are the declared keys in the hash sample of one key in `every`.
        """
        wanted = {f"since:{key}": now for key in keys} | {f"read:{key}": 0 for key in keys} | {"every": every}
        with self._server() as server:
            found = server.zrange(self._watched, 0, -1, withscores=True)
            times = {name.decode(): score for name, score in found}
            pipeline = server.pipeline(transaction=True)
            if unwanted := times.keys() - wanted.keys():
                pipeline.zrem(self._watched, *unwanted)
            pipeline.zadd(self._watched, wanted, nx=True)
            pipeline.zadd(self._watched, {"every": every})
            pipeline.expire(self._watched, WATCHED_LIFE_SECONDS)
            pipeline.execute()
        return {
            key: Watched(since=times[f"since:{key}"], read_at=times[f"read:{key}"])
            for key in keys
            if f"since:{key}" in times
        }

    def _is_sampled(self, key: str) -> bool:
        return self._every > 0 and in_sample(key, self._every)

    def _day(self, now: float) -> str:
        return beside(self._fence, f"reads-{int(now // DAY_SECONDS)}")
