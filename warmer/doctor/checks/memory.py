"""Memory: its limit, what happens there, whether it grows, and how much is waste."""

from __future__ import annotations

from collections.abc import Iterator

from warmer.doctor.check import CacheCheck, Finding, error, info, ok, warning
from warmer.doctor.project import Cache
from warmer.humanize import counted, duration, percent, size

MIB = 1024 * 1024
HOUR = 3600
NEARLY_FULL = 0.9
# A healthy jemalloc stays below. On a small server the ratio is that of the empty process.
WASTE_RATIO, WASTE_BYTES = 1.5, 32 * MIB
# More than a daily rise and fall. Of little memory a ratio says nothing.
GROWTH_RATIO, GROWTH_BYTES = 1.5, 10 * MIB


class Maxmemory(CacheCheck, id="maxmemory"):
    """The server's memory has a limit."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        limit, used = server.info["maxmemory"], server.info["used_memory"]
        machine = server.info.get("total_system_memory", 0)
        if limit:
            yield ok(f"{size(used)} of {size(limit)} used, {percent(used / limit)}")
            return
        yield warning(
            f"maxmemory is 0: there is no limit. In use: {size(used)} of the machine's {size(machine)}.",
            why="The server grows until the kernel kills it or another program for lack of memory.",
            fix=server.place.config_set("maxmemory", _larger(used, machine))
            + "\n(or what the machine can spare)",
        )


class MaxmemoryPolicy(CacheCheck, id="maxmemory-policy"):
    """At its limit, the server evicts the least useful keys."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        policy, limit = str(server.info["maxmemory_policy"]), server.info["maxmemory"]
        fix = server.place.config_set("maxmemory-policy", "allkeys-lru")
        message = f"The policy is {policy}"
        if not limit:
            yield ok(f"{policy}, without effect: there is no limit")
        elif policy == "noeviction":
            share = server.info["used_memory"] / limit
            why = "A full server refuses every write: nothing is warmed, and each miss goes to the database."
            severity = error if share >= NEARLY_FULL else warning
            yield severity(f"{message}, and memory is {percent(share)} full.", why=why, fix=fix)
        elif policy.startswith("volatile-"):
            why = "When only those are left, the server refuses writes as noeviction does."
            yield info(f"{message}: keys without a TTL are never evicted.", why=why, fix=fix)
        elif policy == "allkeys-random":
            yield info(
                f"{message}.", why="A hot key is evicted as readily as one that nobody reads.", fix=fix
            )
        else:
            yield ok(policy)
        if limit and policy != "noeviction" and cache.holds_all_sessions:
            yield warning(
                f"Sessions are in this cache and nowhere else, and its policy is {policy}.",
                why="When memory runs short, users are logged out.",
                fix='SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"',
            )


class MemoryGrowth(CacheCheck, id="memory-growth"):
    """Memory does not grow without end, compared with an earlier run of the doctor."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        now, earlier = cache.readings
        if earlier is None:
            yield ok(f"{size(now.used)}; a later run can tell whether it grows")
            return
        grown, span = now.used - earlier.used, now.at - earlier.at
        if grown < GROWTH_BYTES or now.used < GROWTH_RATIO * earlier.used:
            yield ok(f"{size(now.used)}; {size(earlier.used)} {duration(span)} ago")
            return
        rate = grown / span
        left = (server.info["maxmemory"] - now.used) / rate
        until = f", which reaches the limit in {duration(left)}" if left > 0 else ""
        yield warning(
            f"Memory grew from {size(earlier.used)} to {size(now.used)} in {duration(span)}: "
            f"{size(rate * HOUR)} an hour{until}.",
            why="At the limit keys are evicted; without a limit the machine runs out of memory.",
            fix=f"{server.place.redis_cli} --memkeys\nfinds the largest keys; see also keys-without-ttl and "
            "big-keys. After a deploy or a full warm it may be intended.",
        )


class Fragmentation(CacheCheck, id="fragmentation"):
    """The process needs little more memory than its keys, and none of it is swapped out."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        cli = server.place.redis_cli
        used, resident = server.info["used_memory"], server.info.get("used_memory_rss", 0)
        if resident > WASTE_RATIO * used and resident - used > WASTE_BYTES:
            yield warning(
                f"The process holds {size(resident)} for {size(used)} of data ({resident / used:.1f} times).",
                why="The machine runs out of memory before the server reaches its limit.",
                fix=f"{cli} MEMORY PURGE\n{cli} CONFIG SET activedefrag yes\n(needs jemalloc) or restart it.",
            )
        elif resident and used - resident > WASTE_BYTES:
            yield warning(
                f"Only {size(resident)} of {size(used)} of data is in memory: the rest is swapped out.",
                why="Reading a swapped key takes milliseconds, and every other client waits for it.",
                fix=f"{cli} CONFIG SET maxmemory {_larger(resident // 2)}\nso that it fits into memory.",
            )


class Evictions(CacheCheck, id="evictions"):
    """No keys are evicted for lack of memory."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        now, earlier = cache.readings
        count = now.evicted - (earlier.evicted if earlier else 0)
        span = now.at - earlier.at if earlier else server.info["uptime_in_seconds"]
        since = f"in {duration(span)}" if earlier else f"in the {duration(span)} since the server started"
        if not count:
            yield ok(f"none {since}")
            return
        yield warning(
            f"{counted(count, 'key')} evicted {since}.",
            why="Warmed keys are gone before they are read; without its fence a run writes nothing.",
            fix=server.place.config_set("maxmemory", _larger(server.info["maxmemory"]))
            + "\n(or warm less, or give values shorter timeouts)",
        )


def _larger(used: int, machine: int = 0) -> str:
    """Return a limit with room to grow: twice what is used, at least 256 MiB, at most 3/4 of the machine."""
    wanted = max(2 * used, 256 * MIB)
    if machine:
        wanted = min(wanted, machine * 3 // 4)
    return f"{max(1, wanted // MIB)}mb"
