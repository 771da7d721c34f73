"""A sample of the keys, found with SCAN: keys that never expire or are too big; and slow commands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from warmer.doctor.check import Finding, cache_check, info, ok, warning
from warmer.doctor.project import Cache, NotApplicable
from warmer.humanize import counted, percent, size

if TYPE_CHECKING:
    from warmer.stores.inspection import SampledKey

# A few keys may be meant to stay; this share fills the memory.
MANY = 0.05
BIG_BYTES = 1024 * 1024
SHOWN = 3
SHOWN_CHARACTERS = 60
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
def keys_without_ttl(cache: Cache) -> Iterator[Finding]:
    """Every key expires eventually."""
    sampled = _sampled(cache)
    staying = [key for key in sampled if key.ttl is None]
    share = len(staying) / len(sampled)
    if not staying:
        yield ok(f"none in a sample of {counted(len(sampled), 'key')}")
        return
    cli = cache.redis.place.redis_cli
    severity = warning if share >= MANY else info
    yield severity(
        f"{len(staying):,} of {counted(len(sampled), 'sampled key')} ({percent(share)}) have no TTL: "
        f"{_common_forms(staying)}.",
        why="They never expire, so memory fills up; volatile-* policies and noeviction never evict them.",
        fix="cache.set(key, value, timeout=3600)\nin the code that writes them with timeout=None, or TIMEOUT "
        f"in CACHES if it is None. For those that exist already:\n{cli} EXPIRE KEY 86400",
    )


@cache_check()
def big_keys(cache: Cache) -> Iterator[Finding]:
    """No key is so big that it delays other clients."""
    sizes = Counter({key.name: key.bytes for key in _sampled(cache) if key.bytes is not None})
    if not sizes:
        raise NotApplicable("the server does not allow MEMORY USAGE to this user")
    big = [f"{shown_name(name)} ({size(bytes)})" for name, bytes in sizes.most_common() if bytes >= BIG_BYTES]
    if not big:
        yield ok(f"the biggest of {counted(len(sizes), 'sampled key')} takes {size(max(sizes.values()))}")
        return
    yield warning(
        f"{len(big):,} of {len(sizes):,} sampled keys over 1 MiB: {_first(big)}.",
        why="Each read transfers and decodes all of it, while all other clients wait.",
        fix='@warm_many("KEY:{id}", ...)\nUse a key for each part that a page needs instead of one with '
        f"everything. This lists all big keys:\n{cache.redis.place.redis_cli} --bigkeys",
    )


@cache_check()
def slow_log(cache: Cache) -> Iterator[Finding]:
    """No command took 10 ms or longer in the last hour."""
    server = cache.redis
    now, entries = server.ask("TIME")[0], server.ask("SLOWLOG GET", SLOW_LOG_ENTRIES)
    threshold = int(server.setting("slowlog-log-slower-than") or SLOW_MICROSECONDS)
    recent = [each for each in entries if now - each["start_time"] <= HOUR]
    slow = [shown_command(each) for each in recent if each["duration"] >= SLOW_MICROSECONDS]
    if slow:
        yield warning(
            f"{counted(len(slow), 'slow command')} in the last hour: {_first(slow)}.",
            why="While such a command runs, every other client waits.",
            fix=f"{server.place.redis_cli} SLOWLOG GET 10\nshows who sent them. Replace KEYS by SCAN, a "
            "big value by several keys, SMEMBERS and the like by SSCAN.",
        )
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


def _common_forms(keys: Sequence[SampledKey]) -> str:
    """Return the most common patterns of names, with `*` for the parts that differ."""
    forms = Counter(_NUMBER.sub("*", shown_name(key.name)) for key in keys)
    return _first([f"{form} ({count:,})" for form, count in forms.most_common()])


def _first(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (", ..." if len(texts) > SHOWN else "")
