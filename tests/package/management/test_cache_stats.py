"""`manage.py cache_stats`: what it shows of servers in the state it describes, and its exit status."""

import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from django.core.cache import cache
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.package.doctor.support import PASSWORD, limited
from tests.support.commands import execute, program
from tests.support.waiting import make_waiting
from warmer import jobs, warm, warm_many
from warmer.models import JobObservation
from warmer.monitoring import observation
from warmer.monitoring.observation import cover
from warmer.stores.instrumentation import CacheUse, observer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

BACKENDS = "django.core.cache.backends"
# What differs between machines and runs.
MASKS = {
    r"127\.0\.0\.1:\d+": "127.0.0.1:PORT",
    r"OK \([\d.]+ ms\)": "OK (N ms)",
    r"^  server .*": "  server       VERSION, up TIME",
    r"^  clients +\d+": "  clients      N",
    r"^  memory .*": "  memory       USED, LIMIT; peak PEAK",
    r"^  (hit rate|evicted) .*": r"  \1     COUNTS",
    r"[\d.]+ s  +(1 h|59 min \d+ s)$": "TIME   TIME",
    r" -{10,11}$": " ----------",  # as long as the time
}


def as_json(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(execute("cache_stats", "--json", *args).out)
    return found


def of_job(name: str) -> dict[str, Any]:
    return {job["job"]: job for job in as_json()["jobs"]}[name]


def things(count: int = 10, **options: Any) -> Any:
    return warm_many("thing:{id}", name="things", ids=lambda: range(count), **options)(
        lambda ids: {id: {"id": id} for id in ids}
    )


# -- the cache and its server ----------------------------------------------------------------------
def test_report(golden: Any, settings: Any, tmp_path: Path, redis_client: Redis) -> None:
    things().warm()
    redis_client.slowlog_reset()
    files = {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
    settings.CACHES = {**settings.CACHES, "files": files}
    golden("cache_stats", execute("cache_stats").out, masks=MASKS | {str(tmp_path): "FOLDER"})


def test_server__counts_are_its_own(redis_server: RedisServer, redis_client: Redis) -> None:
    redis_client.config_resetstat()
    redis_client.slowlog_reset()
    redis_client.config_set("slowlog-log-slower-than", 0)
    redis_client.set("a_key", "s3cr3t")
    redis_client.config_set("slowlog-log-slower-than", 10_000_000)
    cache.set_many({"a": 1, "b": 2, "c": 3})
    for key in ("a", "b", "c", "none"):
        cache.get(key)
    redis_client.set("soon", 1, px=1)
    wait_until(lambda: redis_client.info()["expired_keys"] == 1, seconds=60, what="a key has expired")
    done = execute("cache_stats", "--json")
    redis_client.config_set("slowlog-log-slower-than", 10_000)
    (found,) = json.loads(done.out)["caches"]
    server = found["server"]
    # Asked before the command looks anything up itself.
    assert (server["hits"], server["misses"], server["hit_rate"]) == (3, 1, 0.75)
    assert (server["keys"], server["expiring"], server["expired"]) == (4, 3, 1)
    assert any(text.startswith("SET a_key (") for text in server["slow"])
    assert "s3cr3t" not in done.out
    assert server["clients"] >= 1
    assert found["location"].startswith(f"127.0.0.1:{redis_server.port}/")
    assert redis_client.keys("*probe*") == []


@pytest.mark.parametrize("rights", ["-slowlog", "-info -slowlog"])
def test_server__that_forbids_a_command_or_is_down(redis_server: RedisServer, settings: Any, rights: str) -> None:
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": limited(redis_server, rights)}}
    done = execute("cache_stats", "--json")
    (found,) = json.loads(done.out)["caches"]
    assert done.status == 0
    assert "does not allow" in found["unavailable"][0]
    assert (found["server"] is None) == ("info" in rights)
    redis_server.stop()
    down = execute("cache_stats")
    assert (down.status, down.out, down.error.count("\n")) == (1, "", 0)
    assert down.error.startswith(f"127.0.0.1:{redis_server.port}/")
    assert PASSWORD not in f"{done.out}{down.error}{execute('cache_stats', '--json').out}"


def test_caches__one_of_two_down_shows_the_other(settings: Any) -> None:
    away = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {**settings.CACHES, "away": away}
    warm("elsewhere", name="elsewhere", cache="away")(lambda: 1)
    done = execute("cache_stats")
    assert done.status == 1
    assert "127.0.0.1:1/0" in done.error
    assert "read/write   OK" in done.out
    assert "elsewhere" not in done.out  # its cache was asked once, and not again for each job
    assert execute("cache_stats", "--cache", "default").status == 0


@pytest.mark.parametrize(
    ("location", "shown"), [({"LOCATION": "redis://app:s3cr3t@host:1/0"}, " at redis://***@host:1/0"), ({}, "")]
)
def test_other_cache__location_is_shown_without_its_login(settings: Any, location: Any, shown: str) -> None:
    backend = f"{BACKENDS}.locmem.LocMemCache"
    settings.CACHES = {"default": {"BACKEND": backend, **location}}
    assert execute("cache_stats").out.startswith(f"Cache 'default': {backend}{shown}\n")
    assert "s3cr3t" not in execute("cache_stats", "--json").out


@pytest.mark.parametrize("backend", ["filebased.FileBasedCache", "locmem.LocMemCache"])
def test_other_cache(settings: Any, tmp_path: Path, make_user: Any, backend: str) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.{backend}", "LOCATION": str(tmp_path)}}
    make_user()
    jobs["user_profiles"].warm()
    (found,) = as_json()["caches"]
    assert (found["error"], found["server"], found["location"]) == ("", None, str(tmp_path))
    job = of_job("user_profiles")
    assert (job["cached"], job["share"], job["oldest_seconds"]) == (1, 1.0, None)


# -- the jobs --------------------------------------------------------------------------------------
def test_coverage__is_what_is_cached(redis_client: Redis) -> None:
    job = things(timeout=timedelta(minutes=30))
    assert cover(job.spec).share == 0.0
    job.warm()
    job.invalidate([1, 2, 3])
    redis_client.pexpire(str(cache.make_key("thing:5")), 60_000)
    found = of_job("things")
    assert (found["declared"], found["sampled"], found["cached"], found["share"]) == (10, 10, 7, 0.7)
    assert 0 < found["expires_in_seconds"] <= 60
    assert 29 * 60 <= found["oldest_seconds"] <= 30 * 60


def test_coverage__ids_that_cannot_be_found_are_named_and_1() -> None:
    warm_many("thing:{id}", name="things", ids=Mock(side_effect=ValueError("no ids today")))(dict)
    done = execute("cache_stats")
    assert (done.status, done.error) == (1, "things: ValueError: no ids today.")
    assert "user_profiles" in done.out


def test_jobs__have_the_hit_rates_that_were_observed_last() -> None:
    warm_many("rated:{id}", ids=lambda: [1], name="rated")(lambda ids: {id: id for id in ids})
    JobObservation.objects.create(
        job="rated", observed_at=timezone.now(), hits_hour=3, misses_hour=1, hits_day=999, misses_day=1
    )
    found = of_job("rated")
    assert (found["hit_rate_hour"], found["hit_rate_day"]) == (0.75, 0.999)


# -- the database ----------------------------------------------------------------------------------
def test_pending__are_counted() -> None:
    assert execute("cache_stats").out.endswith("Pending invalidations: none\n")
    make_waiting("posts", [1], recorded_at=timezone.now() - timedelta(minutes=5, seconds=2))
    assert "\nPending invalidations: 1 (oldest: 5 min " in execute("cache_stats").out
    assert as_json()["pending"]["count"] == 1


def test_database_down__shows_the_caches_all_the_same(no_database: None) -> None:
    done = execute("cache_stats")
    assert done.status == 1
    assert "read/write   OK" in done.out
    assert "Failed: user_profiles, popular_posts, posts: OperationalError" in done.out
    assert "\nPending invalidations: unknown\n  unknown on the database 'default', which does" in done.out
    assert "database 'default': OperationalError" in done.error
    assert "migrate" not in done.error


# -- the command -----------------------------------------------------------------------------------
@pytest.mark.usefixtures("redis_client")
@pytest.mark.parametrize(("args", "alias"), [((), "'default'"), (("--json",), '"default"')])
def test_watch__refreshes_until_ctrl_c(args: tuple[str, ...], alias: str) -> None:
    with program("cache_stats", "--watch", "0.5", *args) as process:
        out: Any = process.stdout
        read: list[str] = []
        while sum(alias in line for line in read) < 2:
            read.append(out.readline())
            assert read[-1], "the program ended"
        assert "\x1b" not in "".join(read)  # no terminal: nothing to clear
        if args:
            assert all(json.loads(line)["caches"][0]["alias"] == "default" for line in read)
        process.send_signal(signal.SIGINT)
        errors = cast(Any, process.stderr).read()
    assert (process.returncode, errors) == (0, "")


@pytest.mark.usefixtures("redis_client")
def test_watch__ends_quietly_when_nobody_reads_on() -> None:
    """As with `| head`."""
    with program("cache_stats", "--watch", "0.5") as process:
        out, errors = cast(Any, process.stdout), cast(Any, process.stderr)
        out.readline()
        out.close()
        assert (process.wait(timeout=60), errors.read()) == (141, "")


def test_server__that_is_full_is_shown_with_its_memory(redis_client: Redis) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        done = execute("cache_stats")
    finally:
        redis_client.config_set("maxmemory", 0)
    assert done.status == 1
    assert "maxmemory" in done.error
    assert " of 1 bytes, noeviction" in done.out


def test_coverage__is_of_a_bounded_sample_in_one_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation, "IDS_READ", 5_000)
    job = things(100_000)
    counts = CacheUse()
    token = observer.set(counts)
    found = cover(job.spec)
    observer.reset(token)
    assert found.declared == 5_000
    assert 0 < found.sampled <= observation.SAMPLE
    assert counts.total.calls == 1
