"""Memory and keys: limits, evictions, growth, slow commands, and a sample of the keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from warmer.doctor.check import SESSIONS_FIX, Finding, cache_check, error, info, ok, warning
from warmer.doctor.project import Cache, NotApplicable
from warmer.humanize import counted, duration, percent, size

if TYPE_CHECKING:
    from warmer.stores.inspection import SampledKey

MIB = 1024 * 1024
NEARLY_FULL = 0.9
# A healthy jemalloc stays below. On a small server the ratio is that of the empty process.
WASTE_RATIO, WASTE_BYTES = 1.5, 32 * MIB
# More than a daily rise and fall. For a small amount, the ratio means nothing.
GROWTH_RATIO, GROWTH_BYTES = 1.5, 10 * MIB
# A few keys may be meant to stay; this share fills the memory.
MANY = 0.05
SHOWN, SHOWN_CHARACTERS = 3, 60
# A session's key, a token or a hash must not appear in a report.
_SECRET = re.compile(r"[0-9A-Za-z]{20,}")
_NUMBER = re.compile(r"\d+")
SLOW_LOG_ENTRIES = 128
# A page makes a few round trips, so visitors notice this one.
SLOW_MICROSECONDS = 10_000
# Below, ordinary commands fill the slow log.
LEAST_MICROSECONDS = 1_000
HOUR = 3600
# Their first argument is not a key, and may be a secret or a whole script.
_KEYLESS = {"ACL", "AUTH", "CLIENT", "CONFIG", "EVAL", "EVALSHA", "FCALL", "HELLO", "MIGRATE", "SCRIPT"}


@cache_check()
def maxmemory(cache: Cache) -> Iterator[Finding]:
    """The server's memory has a limit."""
    server = cache.redis
    limit, used = server.info["maxmemory"], server.info["used_memory"]
    machine = server.info.get("total_system_memory", 0)
    if limit:
        yield ok(f"{size(used)} of {size(limit)} used, {percent(used / limit)}")
        return
    message = f"maxmemory is 0: there is no limit. In use: {size(used)} of the machine's {size(machine)}."
    why = "The server grows until the kernel kills it or another program for lack of memory."
    fix = f"{server.place.config_set('maxmemory', _larger(used))}\n(or what the machine can spare)"
    yield warning(message, why=why, fix=fix)


@cache_check()
def maxmemory_policy(cache: Cache) -> Iterator[Finding]:
    """At its limit, the server evicts the least useful keys."""
    server = cache.redis
    policy, limit = str(server.info["maxmemory_policy"]), server.info["maxmemory"]
    fix = server.place.config_set("maxmemory-policy", "allkeys-lru")
    if not limit:
        yield ok(f"{policy}, without effect: there is no limit")
    elif policy == "noeviction":
        share = server.info["used_memory"] / limit
        severity = error if share >= NEARLY_FULL else warning
        why = "A full server refuses every write: nothing is warmed, and each miss goes to the database."
        yield severity(f"The policy is {policy}, and memory is {percent(share)} full.", why=why, fix=fix)
    elif policy.startswith("volatile-") or policy == "allkeys-random":
        why = "'volatile' never evicts keys without a TTL, and 'random' evicts hot keys too."
        yield info(f"The policy is {policy}.", why=why, fix=fix)
    else:
        yield ok(policy)
    if limit and policy != "noeviction" and cache.holds_all_sessions:
        message = f"Sessions are stored only in this cache, and its policy is {policy}."
        why = "When memory runs short, users are logged out."
        yield warning(message, why=why, fix=SESSIONS_FIX)


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
    message = f"Memory grew from {before} to {size(used)} in {span}."
    why = "At the limit keys are evicted; without a limit the machine runs out of memory."
    fix = f"{server.place.redis_cli} --memkeys\nfinds the largest keys; see also keys-without-ttl and "
    fix += "big-keys. After a deploy or a full warm it may be intended."
    yield warning(message, why=why, fix=fix)


@cache_check()
def fragmentation(cache: Cache) -> Iterator[Finding]:
    """The process needs little more memory than its keys."""
    cli, info = cache.redis.place.redis_cli, cache.redis.info
    used, resident = info["used_memory"], info.get("used_memory_rss", 0)
    if resident > WASTE_RATIO * used and resident - used > WASTE_BYTES:
        times = f"{resident / used:.1f} times"
        message = f"The process holds {size(resident)} for {size(used)} of data ({times})."
        why = "The machine runs out of memory before the server reaches its limit."
        fix = f"{cli} MEMORY PURGE\n{cli} CONFIG SET activedefrag yes\n(needs jemalloc) or restart it."
        yield warning(message, why=why, fix=fix)


@cache_check()
def evictions(cache: Cache) -> Iterator[Finding]:
    """No keys are evicted for lack of memory."""
    server, figures = cache.redis, cache.rise or cache.redis.info
    count, span = figures["evicted_keys"], duration(figures["uptime_in_seconds"])
    since = f"in {span}" if cache.rise else f"in the {span} since the server started"
    if not count:
        yield ok(f"none {since}")
        return
    why = "Warmed keys are gone before they are read. Without its fence, a run writes nothing."
    fix = server.place.config_set("maxmemory", _larger(server.info["maxmemory"]))
    fix += "\n(or warm less, or give values shorter timeouts)"
    yield warning(f"{counted(count, 'key')} evicted {since}.", why=why, fix=fix)


@cache_check()
def keys_without_ttl(cache: Cache) -> Iterator[Finding]:
    """Every key expires eventually."""
    sampled = _sampled(cache)
    staying = [key for key in sampled if key.ttl is None]
    if not staying:
        yield ok(f"none in a sample of {counted(len(sampled), 'key')}")
        return
    cli, share = cache.redis.place.redis_cli, len(staying) / len(sampled)
    severity = warning if share >= MANY else info
    # The most common patterns of names, with `*` for the parts that differ.
    forms = Counter(_NUMBER.sub("*", shown_name(key.name)) for key in staying).most_common()
    message = f"{len(staying):,} of {counted(len(sampled), 'sampled key')} ({percent(share)}) have no TTL: "
    message += f"{_first([f'{form} ({count:,})' for form, count in forms])}."
    why = "They never expire, so memory fills up; volatile-* policies and noeviction never evict them."
    fix = "cache.set(key, value, timeout=3600)\nin the code that writes them with timeout=None, or TIMEOUT "
    fix += f"in CACHES if it is None. For those that exist already:\n{cli} EXPIRE KEY 86400"
    yield severity(message, why=why, fix=fix)


@cache_check()
def big_keys(cache: Cache) -> Iterator[Finding]:
    """No key is so big that it delays other clients."""
    sizes = Counter({key.name: key.bytes for key in _sampled(cache) if key.bytes is not None})
    if not sizes:
        raise NotApplicable("the server does not allow MEMORY USAGE to this user")
    big = [f"{shown_name(name)} ({size(bytes)})" for name, bytes in sizes.most_common() if bytes >= MIB]
    if not big:
        yield ok(f"the biggest of {counted(len(sizes), 'sampled key')} takes {size(max(sizes.values()))}")
        return
    message = f"{len(big):,} of {len(sizes):,} sampled keys over 1 MiB: {_first(big)}."
    why = "Each read transfers and decodes all of it, while all other clients wait."
    fix = '@warm_many("KEY:{id}", ...)\nUse a key for each part that a page needs instead of one with '
    fix += f"everything. This lists all big keys:\n{cache.redis.place.redis_cli} --bigkeys"
    yield warning(message, why=why, fix=fix)


@cache_check()
def slow_log(cache: Cache) -> Iterator[Finding]:
    """No command took 10 ms or longer in the last hour."""
    server = cache.redis
    now, entries = server.ask("TIME")[0], server.ask("SLOWLOG GET", SLOW_LOG_ENTRIES)
    threshold = int(server.setting("slowlog-log-slower-than") or SLOW_MICROSECONDS)
    recent = [each for each in entries if now - each["start_time"] <= HOUR]
    slow = [shown_command(each) for each in recent if each["duration"] >= SLOW_MICROSECONDS]
    if slow:
        message = f"{counted(len(slow), 'slow command')} in the last hour: {_first(slow)}."
        why = "While such a command runs, every other client waits."
        fix = f"{server.place.redis_cli} SLOWLOG GET 10\nshows who sent them. Replace KEYS by SCAN, a "
        fix += "big value by several keys, SMEMBERS and the like by SSCAN."
        yield warning(message, why=why, fix=fix)
    elif threshold < LEAST_MICROSECONDS:
        fix = server.place.config_set("slowlog-log-slower-than", str(SLOW_MICROSECONDS))
        message = f"slowlog-log-slower-than is {threshold}."
        yield info(message, why="Slow commands are not in the log, or pushed out by ordinary ones.", fix=fix)


def shown_name(name: str) -> str:
    """Return a key's name for a report: short, and without possible secrets."""
    text = _SECRET.sub("*", name)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def shown_command(entry: dict[str, Any]) -> str:
    """Return an entry of the slow log with the command's key and duration, never with a value."""
    words = str(entry["command"].decode(errors="replace")).split(" ")
    text = shown_name(" ".join(words[:1] if words[0].upper() in _KEYLESS else words[:2]))
    return f"{text} ({entry['duration'] / 1000:,.0f} ms)"


def _sampled(cache: Cache) -> Sequence[SampledKey]:
    if not cache.redis.sample:
        raise NotApplicable("the database holds no keys")
    return cache.redis.sample


def _first(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")


def _larger(used: int) -> str:
    """Return a limit with room to grow: twice the usage, at least 256 MiB."""
    return f"{max(2 * used, 256 * MIB) // MIB}mb"
