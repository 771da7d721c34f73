"""`manage.py cache_benchmark`: what it measures, what it refuses, and that it leaves nothing behind."""

import json
import signal
from typing import Any

import pytest
from django.core.cache import cache, caches
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.servers import CACHE_DATABASE
from tests.support.commands import ended, execute, program
from warmer.doctor import benchmark
from warmer.doctor.benchmark import row
from warmer.stores.redis.store import RedisStore

BACKENDS = "django.core.cache.backends"


def test_report(golden: Any) -> None:
    done = execute("cache_benchmark", "--count", "250")
    table = {r"^([\w.: ]+?)  +([\d,]+)  +([\d,]+ |   ).*$": r"\1 \2 calls", r"^[- ]+$": "---", r"  +": "  "}
    golden("cache_benchmark", done.out, masks=table)


def test_json(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "probe", lambda _alias: 0.0)  # so that the server counts only what is timed
    cache.set("mine", 1)
    redis_client.config_resetstat()
    found = json.loads(execute("cache_benchmark", "--count", "250", "--size", "10", "--json").out)
    assert (found["cache"], found["count"], found["size"], found["batch"]) == ("default", 250, 10, 100)
    operations = {each["operation"]: each for each in found["operations"]}
    assert (operations["cache.set"]["calls"], operations["cache.get_many"]["calls"]) == (250, 3)
    for each in operations.values():
        assert 0 < each["p50_us"] <= each["p95_us"] <= each["p99_us"]
        assert each["missing"] is None
    assert operations["ping"]["ratio"] == 1.0
    # The server was asked what the report says, and only the site's own key is left.
    stats = redis_client.info("commandstats")
    assert stats["cmdstat_get"]["calls"] == 250  # cache.get
    assert stats["cmdstat_mget"]["calls"] == 3 + 250 + 3  # cache.get_many, a job's keys, a job's batches
    assert stats["cmdstat_exists"]["calls"] >= 7 * benchmark.PINGS
    assert redis_client.keys("*") == [str(cache.make_key("mine")).encode()]


def test_keys__have_a_prefix_and_a_ttl(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, ping = set[bytes](), RedisStore.ping

    def look(store: RedisStore) -> None:
        names = redis_client.keys("*")
        assert all(b":warmer-benchmark-" in name for name in names)
        held = redis_client.info("keyspace").get(f"db{CACHE_DATABASE}", {"keys": 0, "expires": 0})
        assert held["expires"] == held["keys"] == len(names)
        seen.update(names)
        ping(store)

    monkeypatch.setattr(RedisStore, "ping", look)
    benchmark.benchmark("default", count=100, size=10)
    assert len(seen) > 100


def test_interrupt(redis_server: RedisServer, redis_client: Redis) -> None:
    process = program("cache_benchmark", "--count", "100000")
    try:
        wait_until(lambda: redis_client.dbsize() > 100, seconds=60, what="the benchmark writes")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, error.split()) == (130, "", ["Interrupted."])
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize("backend", ["locmem.LocMemCache", "filebased.FileBasedCache"])
def test_other_cache__is_measured_and_left_empty(settings: Any, tmp_path: Any, backend: str) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.{backend}", "LOCATION": str(tmp_path)}}
    cache.clear()
    assert execute("cache_benchmark", "--count", "120").status == 0
    assert not getattr(caches["default"], "_cache", None)
    assert list(tmp_path.rglob("*.djcache")) == []


def test_cache__that_is_too_small(settings: Any) -> None:
    small = {"BACKEND": f"{BACKENDS}.locmem.LocMemCache", "LOCATION": "small", "OPTIONS": {"MAX_ENTRIES": 50}}
    settings.CACHES = {**settings.CACHES, "small": small}
    found = json.loads(execute("cache_benchmark", "--count", "200", "--cache", "small", "--json").out)
    missing = {each["operation"]: each["missing"] for each in found["operations"]}
    assert 0 < missing["cache.get"] < 200
    assert missing["cache.set"] is None  # it does not say
    assert missing["job: write a batch"] > 0


def test_cache_down(redis_server: RedisServer) -> None:
    redis_server.stop()
    done = execute("cache_benchmark", "--count", "10")
    assert (done.status, done.out, done.error.count("\n")) == (1, "", 0)
    assert f"127.0.0.1:{redis_server.port}" in done.error


@pytest.mark.parametrize(
    "args", [("--count", "100001"), ("--size", "1048577"), ("--count", "100,000", "--size", "1000")]
)
def test_flood__is_refused(redis_client: Redis, args: tuple[str, ...]) -> None:
    status, _ = ended("cache_benchmark", *args)
    assert (status > 0, redis_client.dbsize()) == (True, 0)


def test_row() -> None:
    found = row("x", [0.001 * number for number in range(10, 0, -1)], keys=10)
    assert (found["p50_us"], found["p99_us"], found["per_second"]) == (5_500, 9_910, 182)
    assert row("x", [0.5])["p99_us"] == 500_000
