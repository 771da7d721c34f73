"""What readers count of a job, kept in its Redis server: for all processes together, with an end to each.

Beside the job's fence there are:

reads           a hash of totals, which only grow (until it is evicted, or nobody counts for a week)
reads-<hour>    a hash of the hits and misses of that hour (of the epoch), by slots of five minutes
panel           the panel that readers watch now; it names the three sets and the number that follow
panel-<id>-keys    its keys
panel-<id>-warm    of them, those that were cached when it was drawn
panel-<id>-read    of them, those that were read
panel-<id>-misses  how many reads of them missed
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, cast

from warmer.keys import beside
from warmer.stores.counters import HITS, MISSES, Counted, PanelResult, Recent, Tallies
from warmer.stores.redis.codec import Codec, connected

SLOT_SECONDS = 300
HOUR_SECONDS, DAY_SECONDS = 3600, 86_400
# A day and the slots that reach into it, with room for clocks that differ.
HOURLY_LIFE_SECONDS = DAY_SECONDS + 2 * HOUR_SECONDS
TOTALS_LIFE_SECONDS = 7 * DAY_SECONDS


class RedisTallies(Tallies):
    """One job's counts in its Redis server.

    Args:
        alias: the cache's name in `CACHES`.
        fence: what the server calls the job's fence.
        codec: the cache's connection.
    """

    def __init__(self, *, alias: str, fence: str, codec: Codec) -> None:
        self.alias = alias
        self._fence = fence
        self._codec = codec

    @classmethod
    def add(cls, counted: Sequence[Counted]) -> list[str]:
        if not counted:
            return []
        first = cast(RedisTallies, counted[0].tallies)
        ends = []
        with connected(first.alias, first._codec) as server:
            pipeline = server.pipeline(transaction=True)
            for each in counted:
                cast(RedisTallies, each.tallies)._add(pipeline, each)
                ends.append(len(pipeline) - 1)
            answers = pipeline.execute()
        return [_text(answers[end]) for end in ends]

    @classmethod
    def totals(cls, tallies: Sequence[Tallies]) -> list[dict[str, int]]:
        if not tallies:
            return []
        first = cast(RedisTallies, tallies[0])
        with connected(first.alias, first._codec) as server:
            pipeline = server.pipeline(transaction=False)
            for each in tallies:
                pipeline.hgetall(cast(RedisTallies, each)._name("reads"))
            found = pipeline.execute()
        return [{_text(name): int(count) for name, count in each.items()} for each in found]

    def recent(self, now: float) -> Recent:
        hour = int(now // HOUR_SECONDS)
        hours = range(hour - DAY_SECONDS // HOUR_SECONDS, hour + 1)
        with connected(self.alias, self._codec) as server:
            pipeline = server.pipeline(transaction=False)
            for each in hours:
                pipeline.hgetall(self._name(f"reads-{each}"))
            pipeline.get(self._name("panel"))
            *found, panel = pipeline.execute()
        counts: dict[str, int] = defaultdict(int)
        this_slot = int(now // SLOT_SECONDS)
        for name, count in (item for each in found for item in each.items()):
            slot, _, what = name.decode().partition(":")
            age = this_slot - int(slot)
            if age < DAY_SECONDS // SLOT_SECONDS:
                counts[f"{what}_day"] += int(count)
            if age < HOUR_SECONDS // SLOT_SECONDS:
                counts[f"{what}_hour"] += int(count)
        return Recent(panel=_text(panel), **counts)

    def panel_keys(self, panel: str) -> frozenset[str]:
        with connected(self.alias, self._codec) as server:
            members: Any = server.smembers(self._name(f"panel-{panel}-keys"))
        return frozenset(map(_text, members))

    def draw_panel(self, panel: str, keys: Collection[str], warm: Collection[str], *, seconds: float) -> None:
        life = max(1, int(seconds))
        with connected(self.alias, self._codec) as server:
            pipeline = server.pipeline(transaction=True)
            for name, members in (("keys", keys), ("warm", warm)):
                pipeline.sadd(self._name(f"panel-{panel}-{name}"), *members)
                pipeline.expire(self._name(f"panel-{panel}-{name}"), life)
            pipeline.set(self._name("panel"), panel, ex=life)
            pipeline.execute()

    def end_panel(self, panel: str) -> PanelResult | None:
        names = [self._name(f"panel-{panel}-{name}") for name in ("keys", "warm", "read", "misses")]
        with connected(self.alias, self._codec) as server:
            pipeline = server.pipeline(transaction=True)
            pipeline.exists(names[0])
            pipeline.scard(names[1])
            pipeline.sinter(names[1:3])
            pipeline.get(names[3])
            pipeline.unlink(self._name("panel"), *names)
            stands, warm, read, misses, _ = pipeline.execute()
        if not (stands and warm):
            return None
        return PanelResult(warm=warm, read=len(read), misses=int(misses or 0))

    def _name(self, kind: str) -> str:
        return beside(self._fence, kind)

    def _add(self, pipeline: Any, counted: Counted) -> None:
        """Queue what adds the counts, and asks for the panel."""
        slot, hour = int(counted.at // SLOT_SECONDS), int(counted.at // HOUR_SECONDS)
        totals, hourly = self._name("reads"), self._name(f"reads-{hour}")
        for what, count in counted.counts.items():
            pipeline.hincrby(totals, what, count)
            if what in (HITS, MISSES):
                pipeline.hincrby(hourly, f"{slot}:{what}", count)
                pipeline.expire(hourly, HOURLY_LIFE_SECONDS)
        pipeline.expire(totals, TOTALS_LIFE_SECONDS)
        if counted.panel_read:
            read = self._name(f"panel-{counted.panel}-read")
            pipeline.sadd(read, *counted.panel_read)
            pipeline.expire(read, HOURLY_LIFE_SECONDS)
        if counted.panel_misses:
            misses = self._name(f"panel-{counted.panel}-misses")
            pipeline.incrby(misses, counted.panel_misses)
            pipeline.expire(misses, HOURLY_LIFE_SECONDS)
        pipeline.get(self._name("panel"))


def _text(value: bytes | None) -> str:
    return value.decode() if value is not None else ""
