"""Memory: its limit, what happens there, whether it grows, and how much is waste."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from warmer.doctor import readings
from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding, error, info, ok, warning
from warmer.doctor.persistence import keeps_sessions
from warmer.doctor.project import Cache, Project
from warmer.doctor.words import HOUR, MB, command, set_option
from warmer.humanize import counted, duration, percent, size

NEARLY_FULL = 0.9
# A healthy jemalloc stays below; under some size the ratio is that of the empty process.
WASTE_RATIO = 1.5
WASTE_BYTES = 32 * MB
# More than a daily rise and fall; under some size a ratio says nothing.
GROWTH_RATIO = 1.5
GROWTH_BYTES = 10 * MB


@dataclass(frozen=True)
class Maxmemory(CacheCheck):
    """The server has a limit to its memory."""

    id = "maxmemory"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        found = cache.redis.info
        limit, used = int(found["maxmemory"]), int(found["used_memory"])
        if limit:
            yield ok(f"{size(used)} of {size(limit)} used, {percent(used / limit)}")
            return
        machine = int(found.get("total_system_memory", 0))
        of_machine = f", of the machine's {size(machine)}" if machine else ""
        yield warning(
            f"maxmemory is 0: there is no limit. {size(used)} are used{of_machine}.",
            why="The server grows until the machine has no memory left, and the kernel kills it or another "
            "program.",
            fix=f"{set_option(cache.redis.place, 'maxmemory', _proposal(used, machine))}\n(or what the "
            "machine can spare)",
        )


@dataclass(frozen=True)
class MaxmemoryPolicy(CacheCheck):
    """At its limit, the server lets the least useful keys go."""

    id = "maxmemory-policy"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        found, place = cache.redis.info, cache.redis.place
        policy, limit = str(found["maxmemory_policy"]), int(found["maxmemory"])
        if not limit:
            yield ok(f"{policy}, without effect: there is no limit")
        elif policy == "noeviction":
            share = int(found["used_memory"]) / limit
            problem = error if share >= NEARLY_FULL else warning
            yield problem(
                f"The policy is noeviction, and the memory is {percent(share)} full.",
                why="A full server refuses every write: nothing is warmed, and an invalidation waits "
                "while readers see the old value.",
                fix=set_option(place, "maxmemory-policy", "allkeys-lru"),
            )
        elif policy.startswith("volatile-"):
            yield info(
                f"The policy is {policy}: keys without a TTL are never evicted.",
                why="When only those are left, the server refuses writes as noeviction does.",
                fix=set_option(place, "maxmemory-policy", "allkeys-lru"),
            )
        elif policy == "allkeys-random":
            yield info(
                "The policy is allkeys-random.",
                why="The hottest key is evicted as readily as one that nobody reads.",
                fix=set_option(place, "maxmemory-policy", "allkeys-lru"),
            )
        else:
            yield ok(policy)
        if limit and policy != "noeviction" and keeps_sessions(cache):
            yield warning(
                f"Sessions are in this cache and nowhere else, and its policy is {policy}.",
                why="When memory is short, users are signed out.",
                fix='SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"',
            )


@dataclass(frozen=True)
class MemoryGrowth(CacheCheck):
    """Memory does not grow without end: compared with what earlier looks saw."""

    id = "memory-growth"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        redis = cache.redis
        reading = readings.now(redis)
        earlier = readings.before(redis, reading)
        if earlier is None:
            yield ok(f"{size(reading.used)}; a look some time later will tell whether it grows")
            return
        grown, span = reading.used - earlier.used, reading.at - earlier.at
        limit = int(redis.info["maxmemory"])
        if grown < GROWTH_BYTES or reading.used < GROWTH_RATIO * earlier.used:
            yield ok(f"{size(reading.used)}, {size(earlier.used)} {duration(span)} ago")
            return
        rate = grown / span
        left = (limit - reading.used) / rate if limit else 0
        until = f"; {size(limit)}, the limit, in {duration(left)}" if limit and left > 0 else ""
        yield warning(
            f"From {size(earlier.used)} to {size(reading.used)} in {duration(span)}: {size(rate * HOUR)} an "
            f"hour{until}.",
            why="If it goes on, keys are evicted at the limit; without a limit the machine runs out of "
            "memory.",
            fix=f"{command(redis.place, '--memkeys')}\nfinds the keys that take it; see also "
            "keys-without-ttl and big-keys. After a deploy or a full warm it may be as intended.",
        )


@dataclass(frozen=True)
class Fragmentation(CacheCheck):
    """The process takes not much more from the system than the keys need, and nothing is swapped out."""

    id = "fragmentation"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        found, place = cache.redis.info, cache.redis.place
        used, resident = int(found["used_memory"]), int(found.get("used_memory_rss", 0))
        ratio = resident / used if used else 0.0
        if ratio > WASTE_RATIO and resident - used > WASTE_BYTES:
            yield warning(
                f"The process holds {size(resident)} for {size(used)} of data, {ratio:.1f} times as much.",
                why="The machine runs out of memory before the server reaches its limit.",
                fix=f"{command(place, 'MEMORY PURGE')}\n{command(place, 'CONFIG SET activedefrag yes')}\nThe "
                "second needs jemalloc. Where neither helps, a restart does.",
            )
        elif 0 < ratio < 1 and used - resident > WASTE_BYTES:
            yield warning(
                f"Of {size(used)} of data only {size(resident)} are in memory: the rest is swapped out.",
                why="A read of a swapped key takes milliseconds instead of microseconds, and every other "
                "client waits for it.",
                fix=f"{command(place, 'CONFIG SET maxmemory', _proposal(resident // 2, 0))}\nso that it "
                "fits the machine's memory; sysctl vm.swappiness=1 on the host.",
            )
        else:
            yield ok(f"{size(resident)} held for {size(used)} of data")


@dataclass(frozen=True)
class Evictions(CacheCheck):
    """No keys are thrown out for want of memory."""

    id = "evictions"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        redis = cache.redis
        reading = readings.now(redis)
        earlier = readings.before(redis, reading)
        span = reading.at - earlier.at if earlier else float(redis.info["uptime_in_seconds"])
        count = reading.evicted - earlier.evicted if earlier else reading.evicted
        since = (
            f"in the last {duration(span)}" if earlier else f"since the server started {duration(span)} ago"
        )
        if count <= 0:
            yield ok(f"none {since}")
            return
        yield warning(
            f"{counted(count, 'key')} evicted {since}.",
            why="The cache is too small for what is put there: warmed keys are gone before they are read. "
            "A fence that was evicted costs a run its writes.",
            fix=set_option(redis.place, "maxmemory", _proposal(int(redis.info["maxmemory"]), 0))
            + "\n(or warm less, or give values shorter lives)",
        )


def _proposal(bytes: int, machine: int) -> str:
    """Return a limit with room to grow: twice what is used, at least 256 MB, at most 3/4 of the machine."""
    wanted = max(2 * bytes, 256 * MB)
    if machine:
        wanted = min(wanted, machine * 3 // 4)
    return f"{max(1, wanted // MB)}mb"
