"""Commands that held up the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding, info, ok, warning
from warmer.doctor.project import Cache, Project
from warmer.doctor.words import HOUR, command, set_option
from warmer.humanize import counted, duration

ENTRIES = 128
# A page has a few round trips: one of these is felt.
SLOW_MS = 10.0
DEFAULT_THRESHOLD = "10000"
SHOWN = 3


@dataclass(frozen=True)
class SlowLog(CacheCheck):
    """No command took so long that others felt it."""

    id = "slow-log"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        redis, place = cache.redis, cache.redis.place
        now, entries = redis.clock(), redis.slow_log(ENTRIES)
        threshold = int(redis.setting("slowlog-log-slower-than") or DEFAULT_THRESHOLD)
        slow = sorted((each for each in entries if each.ms >= SLOW_MS), key=lambda each: -each.ms)
        recent = [each for each in slow if now - each.at <= HOUR]
        if recent:
            shown = ", ".join(f"{each.text} ({each.ms:,.0f} ms)" for each in recent[:SHOWN])
            yield warning(
                f"{counted(len(recent), 'slow command')} in the last hour: {shown}.",
                why="The server does one thing at a time: while such a command runs, every other client "
                "waits.",
                fix=f"{command(place, 'SLOWLOG GET 10')}\nshows who sent them. KEYS becomes SCAN, a big "
                "value becomes several keys, SMEMBERS and the like become SSCAN.",
            )
        elif threshold < 0:
            yield info(
                "The slow log is off.",
                why="When the cache is slow, nothing tells which command does it.",
                fix=set_option(place, "slowlog-log-slower-than", DEFAULT_THRESHOLD),
            )
        elif 0 <= threshold < 1000:
            yield info(
                f"The slow log takes commands from {threshold} µs on.",
                why="Ordinary commands push the slow ones out of it.",
                fix=set_option(place, "slowlog-log-slower-than", DEFAULT_THRESHOLD),
            )
        elif slow:
            ago = duration(now - max(each.at for each in slow))
            yield ok(f"none in the last hour; the latest of {len(slow)} was {ago} ago")
        else:
            yield ok(f"no command over {SLOW_MS:.0f} ms")
