"""The doctor on a Redis server: each state is made on a real one, and the fix is carried out there."""

import json
from typing import Any

import pytest

from embedded.redis_server import RedisServer
from tests.package.doctor.support import (
    BACKENDS,
    PASSWORD,
    USED,
    Examine,
    Serve,
    cache_entry,
    carry_out,
    configure,
    expect,
    fill,
    limited,
    overfill,
)
from warmer.doctor.diagnosis import CHECKS
from warmer.doctor.project import DAY, READING_KEY

# As long as a server's own, but of a million steps: some 50 ms.
LONG_SCRIPT = "local n = 0 for i = 1, 20000000 do n = n + i end return n"


# -- options of the server -------------------------------------------------------------------------
POLICY = "maxmemory-policy"


@pytest.mark.parametrize(
    ("check", "options", "used", "severity"),
    [
        ("persistence", {}, "", "info"),
        ("persistence", {"save": "900 1"}, "", "ok"),
        ("persistence", {"save": "900 1"}, "other", "warning"),
        ("persistence", {"appendonly": "yes", "appendfsync": "always"}, "other", "warning"),
        ("maxmemory", {}, "other", "warning"),
        (POLICY, {POLICY: "noeviction", "maxmemory": "100mb"}, "other", "warning"),
        (POLICY, {POLICY: "noeviction", "maxmemory": "0"}, "other", "ok"),
        (POLICY, {POLICY: "volatile-lru", "maxmemory": "100mb"}, "other", "info"),
        (POLICY, {POLICY: "allkeys-random", "maxmemory": "100mb"}, "other", "info"),
        (POLICY, {POLICY: "allkeys-lfu", "maxmemory": "100mb"}, "other", "ok"),
        ("broker-persistence", {}, "broker", "warning"),
        ("broker-eviction", {POLICY: "allkeys-lru", "maxmemory": "100mb"}, "broker", "error"),
        ("broker-eviction", {POLICY: "allkeys-lru", "maxmemory": "0"}, "broker", "ok"),
        ("broker-eviction", {POLICY: "noeviction", "maxmemory": "100mb"}, "broker", "ok"),
    ],
)
def test_option__is_mended_by_the_fix(
    examine: Examine, serve: Serve, broker_at: Any, check: str, options: dict[str, str], used: str, severity: str
) -> None:
    server, where, known = serve(**options), "", {}
    if used == "broker":
        broker_at(server.url())
    else:
        where, known = server.url(), {"specs": USED if used == "other" else ()}
    found = examine(check, where, **known)
    assert found.severity == severity
    if severity != "ok":
        carry_out(found, server)
        says = "of 256 MiB used" if check == "maxmemory" else ""
        expect(examine(check, where, **known), "ok", says=says)
    server.kill()  # it does not stop while the first file is written


def test_sessions__in_the_cache_alone(examine: Examine, serve: Serve, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.SESSION_CACHE_ALIAS = "other"
    server = serve(maxmemory="100mb", maxmemory_policy="allkeys-lru")
    assert examine("persistence", server).severity == "warning"
    _, found = examine.all("maxmemory-policy", server)
    assert (found.severity, "cached_db" in found.fix) == ("warning", True)


# -- memory -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("check", ["maxmemory-policy", "writes"])
def test_full_server__accepts_writes_after_the_fix(examine: Examine, serve: Serve, check: str) -> None:
    server = serve(maxmemory_policy="noeviction")
    overfill(server)
    carry_out(expect(examine(check, server), "error"), server)
    assert examine("writes", server).severity == "ok"


def age(server: RedisServer, seconds: int = 3600) -> int:
    """Make the server's reading older; return the uptime that it had."""
    with server.client() as client:
        kept = json.loads(client.get(READING_KEY))
        uptime = int(kept["uptime_in_seconds"])
        client.set(READING_KEY, json.dumps(kept | {"uptime_in_seconds": uptime - seconds}))
    return uptime


def test_evictions(examine: Examine, serve: Serve) -> None:
    server = serve(maxmemory="3mb", maxmemory_policy="allkeys-lru")
    assert examine("evictions", server).severity == "ok"
    fill(server, keys=600)
    with server.client() as client:
        evicted = client.info("stats")["evicted_keys"]
    assert evicted
    found = examine("evictions", server)
    assert found.severity == "warning"
    assert found.message.startswith(f"{evicted:,} keys evicted in ")
    with server.client() as client:
        client.flushdb()
    examine("evictions", server)
    age(server)
    assert examine("evictions", server).message == "none in 1 h"


def test_memory_growth(examine: Examine, serve: Serve) -> None:
    server = serve(maxmemory="100mb", appendonly="yes")
    assert "run the doctor again later" in examine("memory-growth", server).message
    fill(server, keys=100)
    assert "run the doctor again later" in examine("memory-growth", server).message  # not so soon
    age(server)
    assert examine("memory-growth", server).message.endswith(" 1 h ago")
    fill(server, keys=2000)
    expect(examine("memory-growth", server), "warning", says=" in 1 h.")
    uptime = age(server, DAY)
    assert " in 1 d 1 h." in examine("memory-growth", server).message
    with server.client() as client:  # after a day, the reading is replaced
        assert json.loads(client.get(READING_KEY))["uptime_in_seconds"] > uptime
        assert 0 < client.ttl(READING_KEY) <= 3 * DAY
    server.restart()
    assert "run the doctor again later" in examine("memory-growth", server).message


def test_fragmentation__little_is_left_of_much(examine: Examine, serve: Serve) -> None:
    server = serve()
    assert examine("fragmentation", server).severity == "ok"
    fill(server, keys=40_000, each=1000)
    with server.client() as client:
        client.delete(*(f":1:post:{number}" for number in range(40_000) if number % 20))
    assert examine("fragmentation", server).severity == "warning"


# -- keys ------------------------------------------------------------------------------------------
def test_keys_without_ttl(examine: Examine, serve: Serve) -> None:
    server = serve()
    assert examine("keys-without-ttl", server).severity == "skipped"
    fill(server, keys=50)
    assert examine("keys-without-ttl", server).message == "none in a sample of 50 keys"
    secret = "abcdefghijklmnopqrstuvwxyzabcdef"
    with server.client() as client:
        client.set(f":1:django.contrib.sessions.cache{secret}", 1)
    found = examine("keys-without-ttl", server)
    assert found.severity == "info"
    assert secret not in found.message
    fill(server, keys=50, seconds=None)
    fix = "cache.set(key, value, timeout=3600)"
    expect(examine("keys-without-ttl", server), "warning", says=":*:post:* (50)", fix=fix)


def test_keys__are_sampled_and_never_listed(examine: Examine, serve: Serve) -> None:
    server = serve()
    fill(server, keys=10_000, each=10)
    assert examine("keys-without-ttl", server).message == "none in a sample of 2,000 keys"
    with server.client() as client:
        used = client.info("commandstats")
    assert "cmdstat_keys" not in used
    assert used["cmdstat_scan"]["calls"] <= 3


def test_big_keys(examine: Examine, serve: Serve) -> None:
    server = serve()
    for keys, severity in ((0, "skipped"), (5, "ok")):
        fill(server, keys=keys)
        assert examine("big-keys", server).severity == severity
    with server.client() as client:
        client.set(":1:everything", "x" * 3 * 2**20, ex=3600)
    expect(examine("big-keys", server), "warning", says=":1:everything (")


def test_slow_log(examine: Examine, serve: Serve) -> None:
    server = serve()
    assert examine("slow-log", server).severity == "ok"
    for threshold in ("0", "-1"):
        configure(server, slowlog_log_slower_than=threshold)
        found = examine("slow-log", server)
        assert found.severity == "info"
        carry_out(found, server)
        assert examine("slow-log", server).severity == "ok"
    with server.client() as client:
        client.eval(LONG_SCRIPT, 0, PASSWORD)  # and the password is not shown
    expect(examine("slow-log", server), "warning", says=" EVAL (")


# -- who gets in -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bind", "protected", "severity"),
    [("127.0.0.1", "no", "ok"), ("0.0.0.0", "no", "error"), ("0.0.0.0", "yes", "info")],
)
def test_exposure(examine: Examine, serve: Serve, bind: str, protected: str, severity: str) -> None:
    server = serve()
    configure(server, protected_mode=protected, bind=bind)
    with_password = f"redis://default:{PASSWORD}@127.0.0.1:{server.port}/0"
    assert examine("exposure", server).severity == severity
    assert examine("exposure", with_password).severity == severity  # which nobody needs
    configure(server, requirepass=PASSWORD)
    assert examine("exposure", with_password).message == "a password is required"


REDIS, OURS = "django_redis.cache.RedisCache", "warmer.stores.redis.backend.RedisCache"
PICKLE = "django_redis.serializers.pickle.PickleSerializer"
SET = 'CACHES["other"]["OPTIONS"]'


@pytest.mark.parametrize(
    ("backend", "options", "sessions", "severity", "fix"),
    [
        (OURS, {}, "db", "ok", ""),
        (OURS, {"SERIALIZER": PICKLE}, "db", "warning", f'{SET}["SERIALIZER"] = "warmer.serializers.'),
        (OURS, {"FALLBACK_SERIALIZER": PICKLE}, "cache", "warning", f'{SET}["FALLBACK_SERIALIZER"] = None\n'),
        (OURS, {}, "cached_db", "ok", ""),
        (OURS, {}, "cache", "info", ""),
        (REDIS, {"SERIALIZER": "warmer.serializers.MsgspecSerializer"}, "cache", "info", ""),
        (f"{BACKENDS}.redis.RedisCache", None, "db", "warning", ""),
        (f"{BACKENDS}.filebased.FileBasedCache", None, "db", "info", ""),
        (f"{BACKENDS}.locmem.LocMemCache", None, "db", "skipped", ""),
    ],
)
def test_pickle(
    examine: Examine, settings: Any, backend: str, options: Any, sessions: str, severity: str, fix: str
) -> None:
    settings.SESSION_CACHE_ALIAS, settings.SESSION_ENGINE = "other", f"django.contrib.sessions.backends.{sessions}"
    entry = cache_entry("redis://127.0.0.1:1/0") | {"BACKEND": backend}
    entry["OPTIONS"] = {} if options is None else entry["OPTIONS"] | options
    found = expect(examine("pickle", entry, specs=USED), severity, fix=fix)
    assert ("Other apps' values" in found.fix) is (severity == "warning")
    assert examine("pickle", entry).severity == "skipped"  # no job uses it


# -- servers of every kind -------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["healthy", "no_config", "few_rights"])
def test_server__has_no_error_and_no_warning(examine: Examine, serve: Serve, kind: str) -> None:
    """Also if it is a managed one, or forbids commands to the user: that is said, as an info."""
    options = {"rename-command CONFIG": ""} if kind == "no_config" else {"appendonly": "yes"}
    server = serve(maxmemory="100mb", maxmemory_policy="allkeys-lru", **options)
    fill(server, keys=30)
    where = limited(server, "-@dangerous -@admin -memory") if kind == "few_rights" else server.url()
    found = [each for check in CHECKS if check.of_cache for each in examine.all(check.id, where)]
    worst = {each.severity.value for each in found}
    assert worst <= {"ok", "skipped"} | ({"info"} if kind != "healthy" else set()), found
    assert kind == "healthy" or any("does not allow CONFIG" in each.message for each in found)
