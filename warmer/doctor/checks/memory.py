"""Memory: its limit, what happens when it is reached, growth and fragmentation."""

from collections.abc import Iterator

from warmer.doctor.check import SESSIONS_FIX, Finding, cache_check, error, info, ok, warning
from warmer.doctor.project import Cache
from warmer.humanize import counted, duration, percent, size

MIB = 1024 * 1024
NEARLY_FULL = 0.9
# A healthy jemalloc stays below. On a small server the ratio is that of the empty process.
WASTE_RATIO, WASTE_BYTES = 1.5, 32 * MIB
# More than a daily rise and fall. For a small amount, the ratio means nothing.
GROWTH_RATIO, GROWTH_BYTES = 1.5, 10 * MIB


@cache_check()
def maxmemory(cache: Cache) -> Iterator[Finding]:
    """The server's memory has a limit."""
    server = cache.redis
    limit, used = server.info["maxmemory"], server.info["used_memory"]
    machine = server.info.get("total_system_memory", 0)
    if limit:
        yield ok(f"{size(used)} of {size(limit)} used, {percent(used / limit)}")
        return
    fix = server.place.config_set("maxmemory", _larger(used))
    yield warning(
        f"maxmemory is 0: there is no limit. In use: {size(used)} of the machine's {size(machine)}.",
        why="The server grows until the kernel kills it or another program for lack of memory.",
        fix=f"{fix}\n(or what the machine can spare)",
    )


@cache_check()
def maxmemory_policy(cache: Cache) -> Iterator[Finding]:
    """At its limit, the server evicts the least useful keys."""
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
    if policy.startswith("volatile-") or policy == "allkeys-random":
        why = "'volatile' never evicts keys without a TTL, and 'random' evicts hot keys too."
        yield info(f"The policy is {policy}.", why=why, fix=fix)
    else:
        yield ok(policy)
    if cache.holds_all_sessions:
        yield warning(
            f"Sessions are stored only in this cache, and its policy is {policy}.",
            why="When memory runs short, users are logged out.",
            fix=SESSIONS_FIX,
        )


@cache_check()
def memory_growth(cache: Cache) -> Iterator[Finding]:
    """Memory does not keep growing, compared with an earlier run of the doctor."""
    server, used = cache.redis, cache.redis.info["used_memory"]
    if not cache.rise:
        yield ok(f"{size(used)}; run the doctor again later to see whether it grows")
        return
    grown = cache.rise["used_memory"]
    before, span = size(used - grown), duration(cache.rise["uptime_in_seconds"])
    if grown < GROWTH_BYTES or used < GROWTH_RATIO * (used - grown):
        yield ok(f"{size(used)}; {before} {span} ago")
        return
    yield warning(
        f"Memory grew from {before} to {size(used)} in {span}.",
        why="At the limit keys are evicted; without a limit the machine runs out of memory.",
        fix=f"{server.place.redis_cli} --memkeys\nfinds the largest keys; see also keys-without-ttl and "
        "big-keys. After a deploy or a full warm it may be intended.",
    )


@cache_check()
def fragmentation(cache: Cache) -> Iterator[Finding]:
    """The process needs little more memory than its keys."""
    cli, info = cache.redis.place.redis_cli, cache.redis.info
    used, resident = info["used_memory"], info.get("used_memory_rss", 0)
    if resident > WASTE_RATIO * used and resident - used > WASTE_BYTES:
        yield warning(
            f"The process holds {size(resident)} for {size(used)} of data ({resident / used:.1f} times).",
            why="The machine runs out of memory before the server reaches its limit.",
            fix=f"{cli} MEMORY PURGE\n{cli} CONFIG SET activedefrag yes\n(needs jemalloc) or restart it.",
        )


@cache_check()
def evictions(cache: Cache) -> Iterator[Finding]:
    """No keys are evicted for lack of memory."""
    server, figures = cache.redis, cache.rise or cache.redis.info
    count, span = figures["evicted_keys"], duration(figures["uptime_in_seconds"])
    since = f"in {span}" if cache.rise else f"in the {span} since the server started"
    if not count:
        yield ok(f"none {since}")
        return
    fix = server.place.config_set("maxmemory", _larger(server.info["maxmemory"]))
    yield warning(
        f"{counted(count, 'key')} evicted {since}.",
        why="Warmed keys are gone before they are read. Without its fence, a run writes nothing.",
        fix=f"{fix}\n(or warm less, or give values shorter timeouts)",
    )


def _larger(used: int) -> str:
    """Return a limit with room to grow: twice the usage, at least 256 MiB."""
    return f"{max(2 * used, 256 * MIB) // MIB}mb"
