"""`manage.py cache_benchmark`: what it measures, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.core.management import CommandError, call_command
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.unit.conftest import ROOT
from warmer.doctor import benchmark
from warmer.doctor.benchmark import Benchmark, Measured
from warmer.management.commands.cache_benchmark import _rows

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("cache_benchmark", *args, stdout=out, stderr=out)
    return out.getvalue()


def failing(*args: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(*args)
    return caught.value


def test_table__has_each_way_beside_the_ping() -> None:
    lines = run("--count", "250").splitlines()
    assert lines[0] == (
        "The cache 'default' (django_redis.cache.RedisCache): 250 keys of 200 bytes, batches of 100."
    )
    ways = [line.split("  ")[0] for line in lines[4:12]]
    assert ways == [
        "PING",
        "cache.set",
        "cache.get",
        "cache.set_many",
        "cache.get_many",
        "job, a batch written",
        "job, a key read",
        "job, a batch read",
    ]
    assert lines[2].split() == ["way", "calls", "keys", "keys/s", "p50", "p95", "p99", "x"]


def test_table__of_one_key_of_one_byte() -> None:
    assert run("--count", "1", "--size", "1").splitlines()[0].endswith(": 1 key of 1 byte, batches of 100.")


def test_rows__have_the_ratio_as_it_was_measured() -> None:
    ping = Measured(way="PING", keys=0, seconds=[0.000100])
    slower = Measured(way="cache.set", keys=1, seconds=[0.000136])
    assert [row["x"] for row in _rows([ping, slower], is_server=True)] == [1.0, 1.36]


def test_json__counts_what_was_done() -> None:
    found = json.loads(run("--count", "250", "--size", "10", "--json"))
    assert (found["cache"], found["count"], found["size"], found["batch"]) == ("default", 250, 10, 100)
    ways = {way["way"]: way for way in found["ways"]}
    assert (ways["cache.set"]["calls"], ways["cache.set"]["keys"]) == (250, 250)
    assert (ways["cache.get_many"]["calls"], ways["cache.get_many"]["keys"]) == (3, 250)
    for way in found["ways"]:
        assert 0 < way["p50_us"] <= way["p95_us"] <= way["p99_us"]
        assert way["missing"] == 0
    assert ways["PING"]["x"] == 1.0


def test_server__is_asked_what_is_said(redis_client: Redis) -> None:
    redis_client.config_resetstat()
    run("--count", "250", "--json")
    stats = redis_client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}
    assert calls["get"] == 250  # cache.get
    assert calls["mget"] == 3 + 250 + 3  # cache.get_many, a job's key, a job's batch
    assert calls["ping"] >= 7 * benchmark.PINGS


def test_keys__are_removed_and_no_others(redis_client: Redis) -> None:
    cache.set("mine", 1)
    run("--count", "250")
    assert redis_client.keys("*") == [cache.make_key("mine").encode()]


def test_keys__have_a_prefix_and_a_life(redis_client: Redis) -> None:
    looked_at = []

    def look(done: int, total: int, way: str) -> None:
        names = redis_client.keys("*")
        assert len(names) >= 50
        assert all(b":warmer-benchmark-" in name for name in names)
        assert all(redis_client.ttl(name) > 0 for name in names)
        looked_at.append(way)

    with Benchmark("default", count=100, size=10, progress=look) as measuring:
        measuring.measure()
    # It is called every 50 calls.
    assert set(looked_at) == {"cache.set", "cache.get", "job, a key read"}
    assert measuring.is_clean
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_keys__are_removed_after_an_error(redis_client: Redis, error: type[BaseException]) -> None:
    def stop(done: int, total: int, way: str) -> None:
        if way == "job, a key read":
            assert redis_client.dbsize() == 251
            raise error

    with pytest.raises(error), Benchmark("default", count=250, size=10, progress=stop) as measuring:
        measuring.measure()
    assert redis_client.dbsize() == 0


def test_interrupt__of_the_whole_program(
    redis_server: RedisServer, redis_client: Redis, tmp_path: Path
) -> None:
    environment = os.environ | {"DJANGO_ENV": "test"}
    program = subprocess.Popen(
        [sys.executable, "manage.py", "cache_benchmark", "--count", "100000"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, it would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_until(lambda: redis_client.dbsize() > 100, seconds=60, what="the benchmark writes")
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    finally:
        program.kill()
        program.wait()
    assert (program.returncode, out, err) == (130, "", "CommandError: Interrupted. Its keys were removed.\n")
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize("backend", ["locmem", "files"])
def test_other_cache__is_measured_and_left_empty(settings: Any, tmp_path: Path, backend: str) -> None:
    if backend == "locmem":
        settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "benchmark"}}
    else:
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                "LOCATION": tmp_path,
            }
        }
    cache.clear()
    out = run("--count", "120")
    assert "\na get of nothing " in out
    assert "PING" not in out
    if backend == "locmem":
        assert caches["default"]._cache == {}  # type: ignore[attr-defined]
    else:
        assert list(tmp_path.rglob("*.djcache")) == []


def test_cache__that_is_too_small_says_what_is_missing(settings: Any) -> None:
    small = {"BACKEND": LOCMEM, "LOCATION": "small", "OPTIONS": {"MAX_ENTRIES": 50}}
    settings.CACHES = {**settings.CACHES, "small": small}
    out = run("--count", "200", "--cache", "small")
    assert "The missing keys were not taken, or gone when they were read: the cache is too small." in out
    ways = {
        way["way"]: way for way in json.loads(run("--count", "200", "--cache", "small", "--json"))["ways"]
    }
    assert 0 < ways["cache.get"]["missing"] < 200
    assert ways["cache.set"]["missing"] == 0  # it does not say
    assert ways["job, a batch written"]["missing"] > 0


def test_cache__that_keeps_nothing_is_no_result(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    error = failing("--count", "10")
    assert str(error) == "The cache 'default' keeps nothing: of 10 keys none is there."
    assert error.returncode == 1


def test_cache_down__is_one_line_and_1(redis_server: RedisServer) -> None:
    redis_server.stop()
    error = failing("--count", "10")
    assert str(error).startswith("The cache 'default' at 127.0.0.1:")
    assert "\n" not in str(error)
    assert error.returncode == 1


def test_cache_down__in_between_says_that_keys_are_left(redis_server: RedisServer) -> None:
    def stop(done: int, total: int, way: str) -> None:
        if way == "cache.get" and done == 100:
            redis_server.stop()

    measuring = Benchmark("default", count=200, size=10, progress=stop)
    with pytest.raises(Exception, match=r"could not be removed: they expire in 10 minutes"), measuring:
        measuring.measure()
    assert not measuring.is_clean


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--count", "100001"], "100,001 keys: at most 100,000 are written."),
        (["--size", "1048577"], "1,048,577 bytes: a value has at most 1,048,576."),
        (
            ["--count", "100,000", "--size", "1000"],
            "100,000 keys of 1,000 bytes are 100,000,000 bytes: at most 67,108,864 are written.",
        ),
    ],
)
def test_flood__is_refused(redis_client: Redis, args: list[str], why: str) -> None:
    error = failing(*args)
    assert (str(error), error.returncode) == (why, 2)
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize(
    "args", [("--count", "0"), ("--size", "-1"), ("--count", "many"), ("--cache", "none")]
)
def test_argument__that_cannot_be_meant_is_refused(args: tuple[str, str]) -> None:
    assert args[0] in str(failing(*args))


def test_percentile__is_a_call_that_was_made() -> None:
    measured = Measured(way="x", keys=10, seconds=[0.001 * number for number in range(1, 11)])
    assert [measured.percentile(percent) for percent in (1, 50, 95, 99, 100)] == [
        pytest.approx(0.001 * number) for number in (1, 5, 10, 10, 10)
    ]
    assert measured.per_second == pytest.approx(10 / 0.055)
