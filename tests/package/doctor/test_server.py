"""The doctor on a Redis server: each state is made on a real one, and the fix is carried out there."""

import json
from typing import Any

import pytest
from django.core.cache import caches

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
        ("broker-eviction", {POLICY: "allkeys-lru", "maxmemory": "0"}, "broker", "warning"),
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
def test_maxmemory_policy__full_server_that_evicts_nothing(examine: Examine, serve: Serve) -> None:
    server = serve(maxmemory_policy="noeviction")
    overfill(server)
    found = examine("maxmemory-policy", server)
    assert found.severity == "error"
    carry_out(found, server)
    with server.client() as client:
        assert client.set("more", "x" * 10_000)


def age(server: RedisServer, seconds: int = 3600) -> dict[str, Any]:
    """Make the server's reading older; return it as it was."""
    with server.client() as client:
        kept: dict[str, Any] = json.loads(client.get(READING_KEY))
        older = kept | {"uptime_in_seconds": kept["uptime_in_seconds"] - seconds}
        client.set(READING_KEY, json.dumps(older))
    return kept


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
    assert "a later run" in examine("memory-growth", server).message
    fill(server, keys=100)
    assert "a later run" in examine("memory-growth", server).message  # not so soon
    age(server)
    assert examine("memory-growth", server).message.endswith(" 1 h ago")
    fill(server, keys=2000)
    expect(examine("memory-growth", server), "warning", says=" in 1 h: ")
    server.restart()
    assert "a later run" in examine("memory-growth", server).message


def test_reading__is_replaced_after_a_day(examine: Examine, serve: Serve) -> None:
    server = serve()
    examine("memory-growth", server)
    first = age(server, DAY)
    assert examine("memory-growth", server).message.endswith(" 1 d ago")
    with server.client() as client:
        assert json.loads(client.get(READING_KEY))["uptime_in_seconds"] >= first["uptime_in_seconds"]
        assert 0 < client.ttl(READING_KEY) <= 3 * DAY


def test_fragmentation__little_is_left_of_much(examine: Examine, serve: Serve) -> None:
    server = serve()
    assert examine("fragmentation", server).severity == "ok"
    fill(server, keys=40_000, each=1000)
    with server.client() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(40_000):
            if number % 20:
                pipeline.delete(f":1:post:{number}")
        pipeline.execute()
    assert examine("fragmentation", server).severity == "warning"


# -- keys ------------------------------------------------------------------------------------------
def test_keys_without_ttl(examine: Examine, serve: Serve) -> None:
    server = serve()
    assert examine("keys-without-ttl", server).severity == "skipped"
    fill(server, keys=50)
    assert examine("keys-without-ttl", server).message == "none in a sample of 50 keys"
    secret = "abcdefghijklmnopqrstuvwxyzabcdef"
    with server.client() as client:
        client.sadd("_kombu.binding.mail", "mail")
        client.lpush("mail", "message")
        assert examine("keys-without-ttl", server).severity == "ok"  # Celery's own stay
        client.set(f":1:django.contrib.sessions.cache{secret}", 1)
    found = examine("keys-without-ttl", server)
    assert found.severity == "info"
    assert secret not in found.message
    fill(server, keys=50, seconds=None)
    expect(
        examine("keys-without-ttl", server), "warning", says=":*:post:* (50)", fix="cache.set(key, value, timeout=3600)"
    )
    caches["other"].set("for ever", 1)
    found = examine("keys-without-ttl", cache_entry(server) | {"TIMEOUT": None})
    assert found.fix.startswith('CACHES["other"]["TIMEOUT"] = 3600')


def test_keys__are_sampled_and_never_listed(examine: Examine, serve: Serve) -> None:
    server = serve()
    fill(server, keys=10_000, each=10)
    with server.client() as client:
        before = client.info("commandstats")
        found = examine("keys-without-ttl", server)
        after = client.info("commandstats")
    assert found.message == "none in a sample of 2,000 keys"
    assert "cmdstat_keys" not in after
    assert after["cmdstat_scan"]["calls"] - before.get("cmdstat_scan", {"calls": 0})["calls"] <= 3


def test_big_keys(examine: Examine, serve: Serve) -> None:
    server = serve()
    assert examine("big-keys", server).severity == "skipped"
    fill(server, keys=5)
    assert examine("big-keys", server).severity == "ok"
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


def test_pickle(examine: Examine, serve: Serve, tmp_path: Any) -> None:
    server = serve()
    assert examine("pickle", server, specs=USED).severity == "ok"
    entry = cache_entry(server)
    entry["OPTIONS"]["SERIALIZER"] = "django_redis.serializers.pickle.PickleSerializer"
    expect(
        examine("pickle", entry, specs=USED),
        "warning",
        fix='CACHES["other"]["OPTIONS"]["SERIALIZER"] = "warmer.serializers.',
        advises="Other apps' values",
    )
    assert examine("pickle", entry).severity == "skipped"  # no job uses it
    django = {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": server.url()}
    assert examine("pickle", django, specs=USED).severity == "warning"
    files = {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache", "LOCATION": tmp_path}
    assert examine("pickle", files, specs=USED).severity == "info"
    assert examine("pickle", {"BACKEND": f"{BACKENDS}.locmem.LocMemCache"}, specs=USED).severity == "skipped"
    unknown = examine("pickle", {"BACKEND": f"{BACKENDS}.base.BaseCache"}, specs=USED)
    assert (unknown.severity, "not known" in unknown.message) == ("skipped", True)


def test_pickle__sessions_beside_plain_data(examine: Examine, serve: Serve, settings: Any) -> None:
    server = serve()
    settings.SESSION_CACHE_ALIAS = "other"
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    assert examine("pickle", server, specs=USED).severity == "ok"
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    assert examine("pickle", server, specs=USED).severity == "info"
    entry = cache_entry(server) | {"BACKEND": "django_redis.cache.RedisCache"}
    entry["OPTIONS"]["SERIALIZER"] = "warmer.serializers.MsgspecSerializer"
    assert examine("pickle", entry, specs=USED).severity == "info"
    entry = cache_entry(server)
    entry["OPTIONS"]["FALLBACK_SERIALIZER"] = "django_redis.serializers.pickle.PickleSerializer"
    expect(
        examine("pickle", entry, specs=USED),
        "warning",
        fix='CACHES["other"]["OPTIONS"]["FALLBACK_SERIALIZER"] = None\n',
    )


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
