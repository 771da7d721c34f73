"""`manage.py cache_stats`: what it shows of servers in the state it speaks of, and its exit status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.integration.waiting import make_waiting
from tests.servers import CACHE_DATABASE
from tests.unit.conftest import ROOT
from warmer import jobs, warm, warm_many
from warmer.models import JobObservation
from warmer.monitoring import coverage
from warmer.monitoring.coverage import cover
from warmer.stores.instrumentation import CacheUse, observer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("cache_stats", *args, stdout=out, stderr=out)
    return out.getvalue()


def failing(*args: str) -> tuple[str, CommandError]:
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("cache_stats", *args, stdout=out, stderr=out)
    return out.getvalue(), caught.value


def shown(text: str) -> dict[str, str]:
    """Return the lines of the first cache, by label."""
    first = text.split("\n\n")[0].splitlines()[1:]
    return {line[:15].strip(): line[15:] for line in first if line[:15].strip()}


def table_of(text: str) -> dict[str, list[str]]:
    """Return the cells of the jobs' table, by job."""
    lines = text.split("\n\n")[-2].splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in lines}


@contextmanager
def as_user(client: Redis, settings: Any, rights: str) -> Iterator[None]:
    """Have the cache's settings log in as a user with fewer rights."""
    client.execute_command(
        "ACL", "SETUSER", "looker", "reset", "on", ">s3cr3t", "~*", "+@all", *rights.split()
    )
    default = settings.CACHES["default"]
    location = str(default["LOCATION"]).replace("redis://", "redis://looker:s3cr3t@")
    settings.CACHES = {"default": {**default, "LOCATION": location}}
    yield
    client.execute_command("ACL", "DELUSER", "looker")


# -- the cache and its server ----------------------------------------------------------------------
def test_server__says_what_it_is(redis_server: RedisServer, redis_client: Redis) -> None:
    redis_client.config_set("maxmemory", 64 * 2**20)
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    cache.set_many({"a": 1, "b": 2})
    cache.set("for_ever", 1, None)
    try:
        seen = shown(run())
    finally:
        redis_client.config_set("maxmemory", 0)
        redis_client.config_set("maxmemory-policy", "noeviction")
    assert seen["connection"].startswith("takes a key and gives it back, in ")
    assert f" at 127.0.0.1:{redis_server.port}/{CACHE_DATABASE}, up " in seen["server"]
    assert redis_server.version() in seen["server"]
    assert seen["memory"].split(", ")[1].endswith("% of 64 MiB")
    assert ", allkeys-lru; at most it was " in seen["memory"]
    assert seen["keys"] == "3 in database 0, 2 of them with a timeout"


def test_server__counts_are_its_own(redis_client: Redis) -> None:
    redis_client.config_resetstat()
    cache.set_many({"a": 1, "b": 2, "c": 3})
    for key in ("a", "b", "c", "none"):
        cache.get(key)
    (found,) = json.loads(run("--json"))["caches"]
    # Asked before the command looks for anything itself.
    assert (found["server"]["hits"], found["server"]["misses"], found["hit_rate"]) == (3, 1, 0.75)
    assert found["server"]["keys"] == 3
    assert found["server"]["clients"] >= 1


def test_server__counts_what_expired_and_was_evicted(redis_client: Redis) -> None:
    redis_client.config_resetstat()
    redis_client.set("soon", 1, px=1)
    wait_until(lambda: redis_client.get("soon") is None, seconds=60, what="a key has expired")
    redis_client.config_set("maxmemory", int(redis_client.info()["used_memory"]) + 2**20)
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        for number in range(40):
            redis_client.set(f"big{number}", "x" * 2**16)
    finally:
        redis_client.config_set("maxmemory", 0)
        redis_client.config_set("maxmemory-policy", "noeviction")
    info = redis_client.info()
    assert info["evicted_keys"] > 0
    seen = shown(run())
    assert (seen["evicted"], seen["expired"]) == (f"{info['evicted_keys']} keys", "1 key")


def test_slow_log__names_the_command_and_no_value(redis_client: Redis) -> None:
    redis_client.slowlog_reset()
    redis_client.config_set("slowlog-log-slower-than", 0)
    redis_client.set("a_key", "s3cr3t")
    redis_client.config_set("slowlog-log-slower-than", 10_000_000)
    text = run()
    redis_client.config_set("slowlog-log-slower-than", 10_000)
    assert " ms SET a_key, " in text
    assert "s3cr3t" not in text
    redis_client.slowlog_reset()
    assert shown(run())["slow log"] == "empty"


def test_trial__leaves_no_key(redis_client: Redis) -> None:
    run()
    assert redis_client.keys("*trial*") == []


def test_trial__server_that_is_full_is_shown_with_its_memory(redis_client: Redis) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        text, error = failing()
    finally:
        redis_client.config_set("maxmemory", 0)
    assert error.returncode == 1
    assert shown(text)["connection"].startswith("FAILED: ")
    assert "maxmemory" in str(error)
    assert " of 1 bytes, noeviction" in shown(text)["memory"]


@pytest.mark.parametrize(
    ("rights", "told"),
    [
        ("-slowlog", ["slow log", "The server does not allow SLOWLOG to this user"]),
        (
            "-info -slowlog",
            [
                "clients, memory, number of keys, hit rate, evictions, expired keys, slow log",
                "The server does not allow INFO to this user",
                "The server does not allow SLOWLOG to this user",
            ],
        ),
    ],
)
def test_server__that_forbids_a_command_is_shown_without(
    redis_client: Redis, settings: Any, rights: str, told: list[str]
) -> None:
    with as_user(redis_client, settings, rights):
        text = run()
    cache_lines = text.split("\n\n")[0].splitlines()
    first = next(at for at, line in enumerate(cache_lines) if line.strip().startswith("not told"))
    lines = [line[15:] for line in cache_lines[first:]]
    assert [line.startswith(start) for line, start in zip(lines, told, strict=True)] == [True] * len(told)
    assert "s3cr3t" not in text
    assert ("\n  memory " in text) == ("info" not in rights)


def test_cache_down__is_one_line_and_1(redis_server: RedisServer) -> None:
    redis_server.stop()
    text, error = failing()
    assert text == ""
    assert str(error).startswith(f"The cache 'default' at 127.0.0.1:{redis_server.port}/0 does not answer: ")
    assert "\n" not in str(error)
    assert error.returncode == 1


def test_cache_down__password_is_not_shown(settings: Any, redis_server: RedisServer) -> None:
    redis_server.stop()
    default = settings.CACHES["default"]
    location = str(default["LOCATION"]).replace("redis://", "redis://looker:s3cr3t@")
    settings.CACHES = {"default": {**default, "LOCATION": location}}
    _, error = failing()
    assert "s3cr3t" not in str(error)
    assert "s3cr3t" not in failing("--json")[0]


def test_caches__one_of_two_down_shows_the_other(settings: Any) -> None:
    away = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {**settings.CACHES, "away": away}
    warm("elsewhere", name="elsewhere", cache="away")(lambda: 1)
    text, error = failing()
    assert error.returncode == 1
    assert str(error).startswith("The cache 'away' at 127.0.0.1:1/0 does not answer: ")
    assert "Cache 'away': django_redis.cache.RedisCache\n  connection   FAILED: " in text
    assert shown(text)["connection"].startswith("takes a key")
    assert "elsewhere" not in table_of(text)  # its cache was asked once, and not again for each job
    only = run("--cache", "default")
    assert "away" not in only


def test_other_cache__says_what_it_cannot_tell(settings: Any, tmp_path: Path, make_user: Any) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": tmp_path}
    }
    make_user()
    jobs["user_profiles"].warm()
    text = run()
    assert set(shown(text)) == {"connection", "not told"}
    assert shown(text)["not told"].startswith("clients, memory, number of keys, hit rate, ")
    assert table_of(text)["user_profiles"] == ["default", "1", "1", "1", "100", "%"]
    assert "oldest" not in text


@pytest.mark.parametrize(
    ("backend", "remarks"),
    [("filebased.FileBasedCache", 0), ("locmem.LocMemCache", 1)],
    ids=["file", "locmem"],
)
def test_other_cache__json_names_each_thing_that_it_cannot_tell(
    settings: Any, tmp_path: Path, backend: str, remarks: int
) -> None:
    settings.CACHES = {
        "default": {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": str(tmp_path)}
    }
    (seen,) = json.loads(run("--json"))["caches"]
    assert seen["untold"] == [
        *("clients", "memory", "number of keys", "hit rate", "evictions", "expired keys"),
        *("slow log", "lives of keys"),
    ]
    assert len(seen["remarks"]) == remarks


def test_locmem__says_that_it_is_not_the_sites(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "stats"}}
    assert "each has such a cache of its own" in run()
    assert len(caches["default"]._cache) == 0  # type: ignore[attr-defined]


def test_cache__that_keeps_nothing_has_failed(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    text, error = failing()
    assert "does not give back what it is given: a key that was just written is not there" in str(error)
    assert shown(text)["connection"].startswith("FAILED: ")


# -- the jobs --------------------------------------------------------------------------------------
def things(count: int = 10, **options: Any) -> Any:
    return warm_many("thing:{id}", name="things", ids=lambda: range(count), **options)(
        lambda ids: {id: {"id": id} for id in ids}
    )


def test_coverage__is_what_is_cached(redis_client: Redis) -> None:
    job = things(timeout=timedelta(minutes=30))
    job.warm()
    job.invalidate([1, 2, 3])
    redis_client.pexpire(str(cache.make_key("thing:5")), 60_000)
    found = cover(job.spec)
    assert (found.declared, found.sampled, found.cached, found.share) == (10, 10, 7, 0.7)
    assert found.shortest is not None
    assert found.oldest is not None
    assert 0 < found.shortest <= 60
    assert 29 * 60 <= found.oldest <= 30 * 60
    assert table_of(run())["things"][:6] == ["default", "10", "10", "7", "70", "%"]


def test_coverage__single_job() -> None:
    job = warm("thing", name="thing")(lambda: 1)
    found = cover(job.spec)
    assert (found.declared, found.sampled, found.cached, found.share) == (1, 1, 0, 0.0)
    assert (found.shortest, found.oldest) == (None, None)
    job.warm()
    assert cover(job.spec).share == 1.0


def test_coverage__is_of_a_bounded_sample_in_one_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "IDS_READ", 5_000)
    job = things(100_000)
    counts = CacheUse()
    token = observer.set(counts)
    found = cover(job.spec)
    observer.reset(token)
    assert (found.declared, 500 < found.sampled <= 1_000) == (5_000, True)
    assert counts.total.calls == 1


def test_coverage__ids_without_a_value_are_not_cold() -> None:
    job = warm_many("thing:{id}", name="things", ids=lambda: range(10))(
        lambda ids: {id: {"id": id} for id in ids if id < 8}
    )
    assert cover(job.spec).share == 0.0
    call_command("warm_cache", "things", "--inline", stdout=io.StringIO())
    found = cover(job.spec)
    assert (found.cached, found.no_value, found.share) == (8, 2, 1.0)
    assert table_of(run())["things"][:7] == ["default", "10", "10", "8", "2", "100", "%"]


def test_coverage__id_that_is_none_costs_that_id() -> None:
    job = warm_many("thing:{id}", name="things", ids=lambda: [1, "a:b", 2])(lambda ids: {})
    assert cover(job.spec).sampled == 2


def test_coverage__job_without_ids_has_no_share() -> None:
    assert cover(things(0).spec).share is None
    assert table_of(run())["things"] == ["default", "0", "0", "0"]


def test_coverage__ids_that_cannot_be_found_are_named_and_1() -> None:
    def broken() -> list[int]:
        raise ValueError("no ids today")

    warm_many("thing:{id}", name="things", ids=broken)(lambda ids: {})
    text, error = failing()
    assert "things could not be looked at: ValueError: no ids today" in text
    assert str(error) == "things could not be looked at: ValueError: no ids today."
    assert "user_profiles" in table_of(text)
    assert error.returncode == 1


# -- the database ----------------------------------------------------------------------------------
def test_pending__are_counted() -> None:
    assert run().endswith("\nPending invalidations: none\n")
    make_waiting("posts", [1], recorded_at=timezone.now() - timedelta(minutes=5, seconds=2))
    assert "\nPending invalidations: 1, the oldest for 5 min " in run()
    assert json.loads(run("--json"))["pending"]["count"] == 1


@pytest.fixture
def no_database() -> Iterator[None]:
    """Lead the site to a database that cannot be opened."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict["NAME"] = "/no/such/folder/no-such-database"
    yield
    connection.close()
    connection.settings_dict.update(before)


def test_database_down__shows_the_caches_all_the_same(
    no_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warmer.invalidation.databases._tables", {})
    text, error = failing()
    assert shown(text)["connection"].startswith("takes a key")
    assert "user_profiles could not be looked at: OperationalError" in text
    assert text.endswith("\nPending invalidations: not known: the database does not answer\n")
    assert error.returncode == 1


# -- the command -----------------------------------------------------------------------------------
def test_json__is_all_of_it() -> None:
    things().warm()
    found = json.loads(run("--json"))
    assert (found["status"], found["pending"]) == (0, {"count": 0, "oldest_seconds": 0.0})
    (seen,) = found["caches"]
    assert (seen["alias"], seen["ok"], seen["error"], seen["untold"]) == ("default", True, "", [])
    assert seen["remarks"] == []
    assert seen["server"]["memory"] > 0
    by_name = {job["job"]: job for job in found["jobs"]}
    assert set(by_name) == set(jobs)
    assert by_name["things"]["share"] == 1.0


@pytest.mark.parametrize("args", [("--cache", "none"), ("--watch", "0.1"), ("--watch", "soon")])
def test_argument__that_cannot_be_meant_is_refused(args: tuple[str, str]) -> None:
    assert args[0] in str(failing(*args)[1])


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_watch__draws_again_until_ctrl_c(redis_client: Redis, flags: tuple[str, ...]) -> None:
    program = subprocess.Popen(
        [sys.executable, "manage.py", "cache_stats", "--watch", "0.5", *flags],
        cwd=ROOT,
        env=os.environ | {"DJANGO_ENV": "test"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, it would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert program.stdout is not None
    try:
        read = []
        while sum("'default'" in line or '"default"' in line for line in read) < 3:
            line = program.stdout.readline()
            assert line, "the program ended"
            read.append(line)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 0, errors
    assert "Traceback" not in errors
    if flags:
        assert [json.loads(line)["caches"][0]["ok"] for line in read] == [True] * 3
    else:
        assert read[0].endswith(", again every 0.5 s; Ctrl-C ends it\n")
        assert "\x1b" not in "".join(read)  # no terminal: nothing to clear


def test_jobs__show_the_hit_rates_that_were_observed_last() -> None:
    warm_many("rated:{id}", ids=lambda: [1], name="rated")(lambda ids: {id: id for id in ids})
    assert "hits, hour" not in run()
    now = timezone.now()
    JobObservation.objects.create(
        job="rated", observed_at=now, hits_hour=3, misses_hour=1, hits_day=999, misses_day=1
    )
    header, row = (line for line in run().splitlines() if line.startswith(("job ", "rated ")))
    assert header.split("  ")[-2:] == ["hits, hour", "hits, day"]
    assert row.split()[-4:] == ["75", "%", "99.9", "%"]
    told = {job["job"]: job for job in json.loads(run("--json"))["jobs"]}
    assert (told["rated"]["hit_rate_hour"], told["rated"]["hit_rate_day"]) == (0.75, 0.999)
