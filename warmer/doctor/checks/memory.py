"""Memory: its limit, and what happens when it is reached."""

from __future__ import annotations

from collections.abc import Iterator

from warmer.doctor.check import SESSIONS_FIX, CacheCheck, Finding, error, info, ok, warning
from warmer.doctor.project import Cache
from warmer.humanize import counted, duration, percent, size

MIB = 1024 * 1024
NEARLY_FULL = 0.9


class Maxmemory(CacheCheck, id="maxmemory"):
    """The server's memory has a limit."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        limit, used = server.info["maxmemory"], server.info["used_memory"]
        machine = server.info.get("total_system_memory", 0)
        if limit:
            yield ok(f"{size(used)} of {size(limit)} used, {percent(used / limit)}")
            return
        fix = server.place.config_set("maxmemory", _larger(used, machine))
        yield warning(
            f"maxmemory is 0: there is no limit. In use: {size(used)} of the machine's {size(machine)}.",
            why="The server grows until the kernel kills it or another program for lack of memory.",
            fix=f"{fix}\n(or what the machine can spare)",
        )


class MaxmemoryPolicy(CacheCheck, id="maxmemory-policy"):
    """At its limit, the server evicts the least useful keys."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        policy, limit = str(server.info["maxmemory_policy"]), server.info["maxmemory"]
        fix = server.place.config_set("maxmemory-policy", "allkeys-lru")
        if not limit:
            yield ok(f"{policy}, without effect: there is no limit")
            return
        if policy == "noeviction":
            share = server.info["used_memory"] / limit
            severity = error if share >= NEARLY_FULL else warning
            why = "A full server refuses every write: nothing is warmed, and each miss goes to the database."
            yield severity(f"The policy is {policy}, and memory is {percent(share)} full.", why=why, fix=fix)
            return
        if policy.startswith("volatile-"):
            why = "Keys without a TTL are never evicted. When only those are left, the server refuses writes."
            yield info(f"The policy is {policy}.", why=why, fix=fix)
        elif policy == "allkeys-random":
            why = "A hot key is evicted as readily as one that nobody reads."
            yield info(f"The policy is {policy}.", why=why, fix=fix)
        else:
            yield ok(policy)
        if cache.holds_all_sessions:
            yield warning(
                f"Sessions are in this cache and nowhere else, and its policy is {policy}.",
                why="When memory runs short, users are logged out.",
                fix=SESSIONS_FIX,
            )


class Evictions(CacheCheck, id="evictions"):
    """No keys are evicted for lack of memory."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        count = server.info["evicted_keys"]
        since = f"in the {duration(server.info['uptime_in_seconds'])} since the server started"
        if not count:
            yield ok(f"none {since}")
            return
        fix = server.place.config_set("maxmemory", _larger(server.info["maxmemory"]))
        yield warning(
            f"{counted(count, 'key')} evicted {since}.",
            why="Warmed keys are gone before they are read; without its fence a run writes nothing.",
            fix=f"{fix}\n(or warm less, or give values shorter timeouts)",
        )


def _larger(used: int, machine: int = 0) -> str:
    """Return a limit with room to grow: twice the usage, at least 256 MiB, at most 3/4 of the machine."""
    wanted = max(2 * used, 256 * MIB)
    if machine:
        wanted = min(wanted, machine * 3 // 4)
    return f"{wanted // MIB}mb"
