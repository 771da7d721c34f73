"""The doctor on a Redis server: each state is made on a real one, and the fix is carried out there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.cache import caches

from config.redis_url import cache_settings
from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import PASSWORD, Look, Serve, carry_out, overfill, says
from tests.integration.doctor.test_reachability import fail_to_save
from tests.jobs import make_spec
from warmer.doctor import readings
from warmer.doctor.catalogue import CACHE_CHECKS
from warmer.doctor.finding import Finding
from warmer.doctor.keys import BigKeys, KeysWithoutTtl
from warmer.doctor.latency import SlowLog
from warmer.doctor.memory import Evictions, Fragmentation, Maxmemory, MaxmemoryPolicy, MemoryGrowth
from warmer.doctor.persistence import Persistence
from warmer.doctor.security import Exposure, Pickle
from warmer.doctor.words import MB

# As managed servers do.
NO_CONFIG = {"rename-command CONFIG": ""}
# As long as a server's own, but of a million steps: some 50 ms.
LONG_SCRIPT = "local n = 0 for i = 1, 20000000 do n = n + i end return n"


def fill(server: RedisServer, *, keys: int, each: int = 10_000, seconds: int | None = 3600) -> None:
    with server.client() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(keys):
            pipeline.set(f":1:post:{number}", "x" * each, ex=seconds)
        pipeline.execute(raise_on_error=False)


# -- persistence -----------------------------------------------------------------------------------
def test_persistence__nothing_is_kept(look: Look, serve: Serve) -> None:
    server = serve()
    found = look(Persistence(), server)
    assert says(found) == ("info", "Nothing is kept on disk: save is empty, and appendonly is 'no'.")
    carry_out(found, server)
    assert says(look(Persistence(), server)) == ("ok", "appendonly yes")
    server.kill()  # it does not stop while the first file is written


def test_persistence__nothing_is_kept_of_sessions(look: Look, serve: Serve, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.SESSION_CACHE_ALIAS = "other"
    found = look(Persistence(), serve())
    assert found.severity == "warning"
    assert "signs out every user" in found.why


def test_persistence__save(look: Look, serve: Serve) -> None:
    assert says(look(Persistence(), serve(save="900 1 60 1000"))) == ("ok", "save '900 1 60 1000'")


def test_persistence__save_alone_for_a_cache_of_jobs(look: Look, serve: Serve, settings: Any) -> None:
    server = serve(save="900 1 60 1000")
    settings.CACHES = {**settings.CACHES, "other": cache_settings(server.url(), max_connections=5)}
    specs = (make_spec(cache="default"), make_spec(cache="other"))
    found = look(Persistence(), server, specs=specs)
    assert says(found) == ("warning", "Keys are kept on disk by save '900 1 60 1000' alone.")
    assert "invalidations since then are undone" in found.why
    assert f'redis-cli -h 127.0.0.1 -p {server.port} CONFIG SET save ""' in found.fix
    carry_out(found, server)
    kept = "save '900 1 60 1000', appendonly yes"
    assert says(look(Persistence(), server, specs=specs)) == ("ok", kept)
    server.kill()  # it does not stop while the first file is written


def test_persistence__save_alone_beside_the_caches_of_jobs(look: Look, serve: Serve) -> None:
    found = look(Persistence(), serve(save="900 1"), specs=(make_spec(cache="default"),))
    assert says(found) == ("ok", "save '900 1'")


def test_persistence__every_write_waits_for_the_disk(look: Look, serve: Serve) -> None:
    server = serve(appendonly="yes", appendfsync="always")
    found = look(Persistence(), server)
    assert says(found) == ("warning", "appendfsync is 'always'.")
    assert "loses the last second or two" in found.why  # what the fix costs
    carry_out(found, server)
    assert look(Persistence(), server).severity == "ok"


def test_persistence__save_that_failed(look: Look, serve: Serve) -> None:
    server = serve(save="900 1")
    fail_to_save(server)
    found, _ = look.all(Persistence(), server)
    assert isinstance(found, Finding)
    assert says(found) == ("error", "The last save to disk (RDB) failed.")
    server.kill()  # asked to stop, it would try to save again


# -- memory ----------------------------------------------------------------------------------------
def test_maxmemory__no_limit(look: Look, serve: Serve) -> None:
    server = serve()
    found = look(Maxmemory(), server)
    assert found.severity == "warning"
    assert found.seen.startswith("maxmemory is 0: there is no limit.")
    carry_out(found, server)
    again = look(Maxmemory(), server)
    assert again.severity == "ok"
    assert "of 256 MiB used" in again.seen


@pytest.mark.parametrize(
    ("policy", "severity", "said"),
    [
        ("noeviction", "warning", "The policy is noeviction, and the memory is "),
        ("volatile-lru", "info", "The policy is volatile-lru: keys without a TTL are never evicted."),
        ("allkeys-random", "info", "The policy is allkeys-random."),
        ("allkeys-lru", "ok", "allkeys-lru"),
        ("allkeys-lfu", "ok", "allkeys-lfu"),
    ],
)
def test_maxmemory_policy(look: Look, serve: Serve, policy: str, severity: str, said: str) -> None:
    server = serve(maxmemory="100mb", maxmemory_policy=policy)
    found = look(MaxmemoryPolicy(), server)
    assert found.severity == severity
    assert found.seen.startswith(said)
    if severity != "ok":
        carry_out(found, server)
        assert look(MaxmemoryPolicy(), server).severity == "ok"


def test_maxmemory_policy__full_server_that_evicts_nothing(look: Look, serve: Serve) -> None:
    server = serve(maxmemory_policy="noeviction")
    overfill(server)
    found = look(MaxmemoryPolicy(), server)
    assert found.severity == "error"
    carry_out(found, server)
    with server.client() as client:
        assert client.set("more", "x" * 10_000)


def test_maxmemory_policy__without_a_limit_has_no_effect(look: Look, serve: Serve) -> None:
    assert says(look(MaxmemoryPolicy(), serve())) == ("ok", "noeviction, without effect: there is no limit")


def test_maxmemory_policy__evicts_sessions(look: Look, serve: Serve, settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.SESSION_CACHE_ALIAS = "other"
    _, found = look.all(MaxmemoryPolicy(), serve(maxmemory="100mb", maxmemory_policy="allkeys-lru"))
    assert isinstance(found, Finding)
    assert found.severity == "warning"
    assert "cached_db" in found.fix


def test_evictions__small_server(look: Look, serve: Serve) -> None:
    server = serve(maxmemory="3mb", maxmemory_policy="allkeys-lru")
    assert look(Evictions(), server).severity == "ok"
    fill(server, keys=600)
    with server.client() as client:
        evicted = client.info("stats")["evicted_keys"]
    assert evicted
    found = look(Evictions(), server)
    assert found.severity == "warning"
    assert found.seen.startswith(f"{evicted:,} keys evicted since the server started")


def test_evictions__of_long_ago_are_over(look: Look, serve: Serve) -> None:
    server = serve(maxmemory="3mb", maxmemory_policy="allkeys-lru")
    fill(server, keys=600)
    with server.client() as client:
        client.flushdb()
    look(Evictions(), server)
    an_hour_ago(server)
    assert says(look(Evictions(), server)) == ("ok", "none in the last 1 h")


def an_hour_ago(server: RedisServer) -> None:
    """Have the server's readings be an hour older."""
    with server.client() as client:
        (key,) = (key for key in client.keys("*") if b"readings" in key)
        rows = json.loads(client.get(key))
        client.set(key, json.dumps([row | {"at": row["at"] - 3600} for row in rows]))


def test_memory_growth__tells_only_after_some_time(look: Look, serve: Serve) -> None:
    server = serve()
    assert "a look some time later" in look(MemoryGrowth(), server).seen
    fill(server, keys=2000)
    assert "a look some time later" in look(MemoryGrowth(), server).seen


def test_memory_growth__grows(look: Look, serve: Serve) -> None:
    server = serve(maxmemory="100mb")
    look(MemoryGrowth(), server)
    fill(server, keys=2000)
    an_hour_ago(server)
    found = look(MemoryGrowth(), server)
    assert found.severity == "warning"
    assert " in 1 h: " in found.seen
    assert "100 MiB, the limit, in " in found.seen


def test_memory_growth__stays(look: Look, serve: Serve) -> None:
    server = serve()
    look(MemoryGrowth(), server)
    fill(server, keys=100)
    an_hour_ago(server)
    found = look(MemoryGrowth(), server)
    assert found.severity == "ok"
    assert found.seen.endswith(" 1 h ago")


def test_memory_growth__restart_begins_anew(look: Look, serve: Serve) -> None:
    server = serve(appendonly="yes")
    look(MemoryGrowth(), server)
    an_hour_ago(server)
    server.restart()
    fill(server, keys=2000)
    assert "a look some time later" in look(MemoryGrowth(), server).seen


def test_readings__are_few_and_go(look: Look, serve: Serve) -> None:
    server = serve()
    for _ in range(5):
        look(MemoryGrowth(), server)
    with server.client() as client:
        (key,) = client.keys("*")
        assert len(json.loads(client.get(key))) == 1
        assert 0 < client.ttl(key) <= 2 * readings.LONGEST_SPAN


def test_fragmentation__little_is_left_of_much(look: Look, serve: Serve) -> None:
    server = serve()
    assert look(Fragmentation(), server).severity == "ok"
    fill(server, keys=60_000, each=1000)
    with server.client() as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(60_000):
            if number % 20:
                pipeline.delete(f":1:post:{number}")
        pipeline.execute()
    found = look(Fragmentation(), server)
    assert found.severity == "warning"
    assert " times as much." in found.seen


# -- keys ------------------------------------------------------------------------------------------
def test_keys__none(look: Look, serve: Serve) -> None:
    server = serve()
    assert look.not_checked(KeysWithoutTtl(), server) == "the database holds no key"
    assert look.not_checked(BigKeys(), server) == "the database holds no key"


def test_keys_without_ttl__none(look: Look, serve: Serve) -> None:
    server = serve()
    fill(server, keys=50)
    found = look(KeysWithoutTtl(), server)
    assert says(found) == ("ok", "none in a sample of 50 keys")


def test_keys_without_ttl__many(look: Look, serve: Serve) -> None:
    server = serve()
    fill(server, keys=50, seconds=None)
    found = look(KeysWithoutTtl(), server)
    assert found.severity == "warning"
    assert "50 of 5" in found.seen
    assert ":*:post:* (50)" in found.seen
    assert found.fix.startswith("cache.set(key, value, timeout=3600)")


def test_keys_without_ttl__few(look: Look, serve: Serve) -> None:
    server = serve()
    fill(server, keys=50)
    with server.client() as client:
        client.set(":1:counter", 1)
    assert look(KeysWithoutTtl(), server).severity == "info"


def test_keys_without_ttl__by_the_settings(look: Look, serve: Serve) -> None:
    entry = cache_settings(serve().url(), max_connections=5) | {"TIMEOUT": None}
    look.all(KeysWithoutTtl(), entry)
    caches["other"].set("for ever", 1)
    found = look(KeysWithoutTtl(), entry)
    assert found.fix.startswith('CACHES["other"]["TIMEOUT"] = 3600')


def test_keys_without_ttl__shows_no_session(look: Look, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.set(":1:django.contrib.sessions.cacheabcdefghijklmnopqrstuvwxyzabcdef", 1)
    assert "abcdefghij" not in look(KeysWithoutTtl(), server).seen


def test_keys_without_ttl__celerys_own_are_left_out(look: Look, serve: Serve) -> None:
    server = serve()
    fill(server, keys=5)
    with server.client() as client:
        client.sadd("_kombu.binding.mail", "mail")
        client.lpush("mail", "message")
    assert look(KeysWithoutTtl(), server).severity == "ok"


def test_keys__are_sampled_and_never_listed(look: Look, serve: Serve) -> None:
    server = serve()
    fill(server, keys=10_000, each=10)
    with server.client() as client:
        before = client.info("commandstats")
        found = look(KeysWithoutTtl(), server)
        after = client.info("commandstats")
    assert found.seen == "none in a sample of 2,000 keys"
    assert "cmdstat_keys" not in after
    assert after["cmdstat_scan"]["calls"] - before.get("cmdstat_scan", {"calls": 0})["calls"] <= 3


def test_big_keys(look: Look, serve: Serve) -> None:
    server = serve()
    fill(server, keys=5)
    assert look(BigKeys(), server).severity == "ok"
    with server.client() as client:
        client.set(":1:everything", "x" * 3 * MB, ex=3600)
    found = look(BigKeys(), server)
    assert found.severity == "warning"
    assert ":1:everything (" in found.seen
    assert found.seen.startswith("1 key of ")


# -- slow log --------------------------------------------------------------------------------------
def test_slow_log__nothing_is_slow(look: Look, serve: Serve) -> None:
    assert says(look(SlowLog(), serve())) == ("ok", "no command over 10 ms")


def test_slow_log__slow_command_without_what_it_was_given(look: Look, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.eval(LONG_SCRIPT, 0, PASSWORD)
    found = look(SlowLog(), server)
    assert found.severity == "warning"
    assert found.seen.startswith("1 slow command in the last hour: EVAL (")
    assert f"redis-cli -h 127.0.0.1 -p {server.port} SLOWLOG GET" in found.fix


def test_slow_log__takes_everything(look: Look, serve: Serve) -> None:
    server = serve(slowlog_log_slower_than="0")
    found = look(SlowLog(), server)
    assert says(found) == ("info", "The slow log takes commands from 0 µs on.")
    carry_out(found, server)
    assert look(SlowLog(), server).severity == "ok"


def test_slow_log__is_off(look: Look, serve: Serve) -> None:
    server = serve(slowlog_log_slower_than="-1")
    found = look(SlowLog(), server)
    assert says(found) == ("info", "The slow log is off.")
    carry_out(found, server)
    assert look(SlowLog(), server).severity == "ok"


# -- who gets in -----------------------------------------------------------------------------------
def listens(server: RedisServer, address: str, protected: str) -> None:
    with server.client() as client:
        client.config_set("protected-mode", protected)
        client.config_set("bind", address)


def test_exposure__this_machine_only(look: Look, serve: Serve) -> None:
    found = look(Exposure(), serve())
    assert says(found) == ("ok", "no password, but it listens on this machine only (bind 127.0.0.1)")


def test_exposure__public_without_a_password(look: Look, serve: Serve) -> None:
    server = serve()
    listens(server, "0.0.0.0", "no")
    found = look(Exposure(), server)
    assert says(found) == ("error", "No password, protected mode is off, and it listens on 0.0.0.0.")
    listens(server, "127.0.0.1", "yes")
    assert look(Exposure(), server).severity == "ok"


def test_exposure__protected_mode(look: Look, serve: Serve) -> None:
    server = serve()
    listens(server, "0.0.0.0", "yes")
    assert look(Exposure(), server).severity == "info"


def test_exposure__password(look: Look, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    listens_to = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
    assert says(look(Exposure(), listens_to)) == ("ok", "a password is required")


def test_exposure__password_of_the_settings_that_nobody_needs(look: Look, serve: Serve) -> None:
    server = serve()
    listens(server, "0.0.0.0", "no")
    found = look(Exposure(), f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0")
    assert found.severity == "error"


@pytest.mark.parametrize(
    ("entry", "severity"),
    [
        ({}, "ok"),
        ({"SERIALIZER": "django_redis.serializers.pickle.PickleSerializer"}, "warning"),
        ({"SERIALIZER": None}, "warning"),
    ],
)
def test_pickle__django_redis(look: Look, serve: Serve, entry: dict[str, Any], severity: str) -> None:
    made = cache_settings(serve().url(), max_connections=5)
    made["OPTIONS"] |= entry
    if entry.get("SERIALIZER", "") is None:
        del made["OPTIONS"]["SERIALIZER"]  # pickle is django-redis' default
    found = look(Pickle(), made)
    assert found.severity == severity
    if severity != "ok":
        assert found.fix.startswith('CACHES["other"]["OPTIONS"]["SERIALIZER"] = "warmer.serializers.')


def test_pickle__djangos_own_backend(look: Look, serve: Serve) -> None:
    entry = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": serve().url()}
    assert says(look(Pickle(), entry)) == ("warning", "Values are pickled.")


def test_pickle__files(look: Look, tmp_path: Any) -> None:
    entry = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": tmp_path}
    assert look(Pickle(), entry).severity == "info"


# -- a server that does not tell -------------------------------------------------------------------
@pytest.mark.parametrize("check", CACHE_CHECKS, ids=lambda check: check.id)
def test_managed_server__that_forbids_config_is_no_error(look: Look, serve: Serve, check: Any) -> None:
    server = serve(**NO_CONFIG, maxmemory="100mb", maxmemory_policy="allkeys-lru")
    for found in look.all(check, server):
        assert getattr(found, "severity", "ok") in ("ok", "info"), found


def test_managed_server__says_what_it_forbids(look: Look, serve: Serve) -> None:
    server = serve(**NO_CONFIG)
    found = look(Persistence(), server)
    assert found.severity == "info"
    assert found.seen.startswith("The server does not allow CONFIG to this user: ")


@pytest.mark.parametrize("check", CACHE_CHECKS, ids=lambda check: check.id)
def test_user_with_few_rights__is_no_error(look: Look, serve: Serve, check: Any) -> None:
    server = serve(maxmemory="100mb", maxmemory_policy="allkeys-lru")
    with server.client() as client:
        rights = ["~*", "+@all", "-@dangerous", "-@admin", "-memory"]
        client.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", *rights)
    fill(server, keys=3)
    for found in look.all(check, f"redis://app:{PASSWORD}@127.0.0.1:{server.port}/0"):
        assert getattr(found, "severity", "ok") in ("ok", "info"), found


@pytest.mark.parametrize("check", CACHE_CHECKS, ids=lambda check: check.id)
def test_healthy_server__has_no_error_and_no_warning(look: Look, serve: Serve, check: Any) -> None:
    server = serve(maxmemory="100mb", maxmemory_policy="allkeys-lru", appendonly="yes")
    fill(server, keys=30)
    for found in look.all(check, server):
        assert getattr(found, "severity", "ok") == "ok", found
