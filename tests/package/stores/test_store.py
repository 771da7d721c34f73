"""The interface of a store, kept by every cache that Django knows; the full fence, by Redis."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache, caches
from redis import Connection, Redis

from embedded.redis_server import RedisServer
from tests.package.stores.contract import FencedContract, StoreContract
from tests.servers import CACHE_DATABASE
from tests.support.stores import SUPERSEDED, THINGS, WRITTEN, claim, fill, invalidate_all, open_things, shift_counts
from warmer.exceptions import StoreUnavailable
from warmer.report import Outcome
from warmer.stores import Store, is_fenced


def hashed_key(key: str, prefix: str, version: int) -> str:
    """A project's own `KEY_FUNCTION`, which leaves nothing of a key to be seen."""
    return sha256(f"{prefix}{version}{key}".encode()).hexdigest()


class GenericContract(StoreContract):
    """What stores do that keep the fence through Django's interface."""

    def has_fence(self, store: Any) -> bool:
        return bool(cache.has_key(store.fence_key))

    def let_pass(self, store: Any, seconds: float) -> None:
        made, _, at = cache.get(store.fence_key).partition("@")
        cache.set(store.fence_key, f"{made}@{float(at) - seconds}", timeout=None)

    def test_write__overtaken_while_it_writes_is_taken_back(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert not is_fenced("default")
        token, set_many = store.token(THINGS), cache.set_many

        def invalidated_just_before(*arguments: Any, **options: Any) -> Any:
            store.invalidate(["thing:1"])
            return set_many(*arguments, **options)

        monkeypatch.setattr(caches["default"], "set_many", invalidated_just_before)
        assert fill(store, token, "thing:1") == {"thing:1": SUPERSEDED}


class TestLocmem(GenericContract):
    @pytest.fixture
    def caches(self) -> dict[str, Any]:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "store"}}


class TestFileBased(GenericContract):
    @pytest.fixture
    def caches(self, tmp_path: Path) -> dict[str, Any]:
        backend = "django.core.cache.backends.filebased.FileBasedCache"
        return {"default": {"BACKEND": backend, "LOCATION": tmp_path}}


class RedisContract(FencedContract):
    """What a store in one Redis server does besides."""

    def test_write__is_one_round_trip(self, store: Store, redis_client: Redis) -> None:
        token = store.token(THINGS)
        store.write(token, {"thing:0": 0})
        redis_client.config_resetstat()
        store.write(token, {f"thing:{id}": id for id in range(100)})
        calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
        # What the script itself calls is counted too; what arrived is one EVALSHA.
        assert calls == {"cmdstat_evalsha": 1, "cmdstat_zscore": 3, "cmdstat_set": 100, "cmdstat_config|resetstat": 1}

    def test_every_call__to_a_server_that_forgets_the_scripts_whenever_it_is_asked_for_one(
        self, store: Store, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask = Connection.send_packed_command

        def forget_and_ask(connection: Any, command: Any, *args: Any, **options: Any) -> Any:
            if b"EVALSHA" in b"".join(command):
                redis_client.script_flush()
            return ask(connection, command, *args, **options)

        monkeypatch.setattr(Connection, "send_packed_command", forget_and_ask)
        token = store.token(THINGS)
        assert fill(store, token, "thing:1") == {"thing:1": WRITTEN}
        assert store.begin_write(token, {"thing:2": 2}).end().outcomes == {"thing:2": WRITTEN}
        store.invalidate(["thing:1"])
        assert store.lookup(["thing:1", "thing:2"]).values == {"thing:2": 2}

    def test_write__token_older_than_the_records(self, store: Store, settings: Any) -> None:
        settings.WARMER_FENCE_RECORDS = 4
        token = store.token(THINGS)
        for number in range(10):
            store.invalidate([f"thing:{number}"])
        # Nothing says any more that thing:0 was invalidated: the whole batch is refused.
        assert set(fill(store, token, "thing:0", "thing:99").values()) == {SUPERSEDED}

    def test_records__are_forgotten_by_age_and_older_tokens_refused(
        self, store: Any, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("warmer.stores.redis.scripts.FENCE_AGE", timedelta(minutes=10))
        first = store.token(THINGS)
        store.invalidate([f"thing:{id}" for id in range(100)])
        assert redis_client.zcard(store.fence_key) == 103
        shift_counts(store, -800)
        second = store.token(THINGS)
        store.invalidate(["thing:100"])
        assert redis_client.zcard(store.fence_key) == 4
        older = dataclasses.replace(first, counter=first.counter - 800 * 10**6)
        assert fill(store, older, "thing:500") == {"thing:500": SUPERSEDED}
        assert fill(store, second, "thing:500", "thing:100") == {"thing:500": WRITTEN, "thing:100": SUPERSEDED}

    def test_clock__far_ahead_and_back_refuses_what_is_too_old_to_tell(self, store: Store) -> None:
        token = store.token(THINGS)
        store.invalidate(["thing:1"])
        shift_counts(store, -86_400)  # as if the clock now jumped a day ahead
        token = dataclasses.replace(token, counter=token.counter - 86_400 * 10**6)
        store.invalidate(["thing:2"])
        assert fill(store, token, "thing:1") == {"thing:1": SUPERSEDED}

    def test_write__server_that_is_full_is_told_per_key(
        self, store: Store, redis_server: RedisServer, redis_client: Redis
    ) -> None:
        token = store.token(THINGS)
        redis_client.config_set("maxmemory-policy", "noeviction")
        redis_client.config_set("maxmemory", 1)
        try:
            written = store.write(token, {"thing:1": 1})
        except StoreUnavailable as error:
            assert "maxmemory" in str(error)
        else:
            assert written.outcomes == {"thing:1": Outcome.FAILED}
            assert "maxmemory" in written.errors["thing:1"]
        assert redis_client.get(":1:thing:1") is None

    def test_every_call__cache_down_is_one_clear_error(self, store: Store, redis_server: RedisServer) -> None:
        token, held = store.token(THINGS), claim(store, "thing:1")
        redis_server.stop()
        calls: list[Callable[[], object]] = [
            store.ping,
            lambda: store.token(THINGS),
            lambda: store.lookup(["thing:1"]).values,
            lambda: store.write(token, {"thing:1": 1}),
            lambda: store.invalidate(["thing:1"]),
            lambda: invalidate_all(store),
            lambda: store.remaining(["thing:1"]),
            lambda: store.lookup(["thing:1"], claims=True),
            lambda: store.claim(["thing:1"], seconds=1.0),
            lambda: store.release(held),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="The cache 'default'"):
                call()
        redis_server.start()

    def test_claim__is_one_round_trip_and_so_is_its_write(self, store: Store, redis_client: Redis) -> None:
        store.release(claim(store, "thing:0"))
        redis_client.config_resetstat()
        made = claim(store, *(f"thing:{id}" for id in range(100)))
        assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
        store.write(made.token, {"thing:1": 1}, ["thing:2"], claim=made)
        assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 2

    def test_claim__is_void_after_the_records_were_trimmed(self, store: Store, settings: Any) -> None:
        settings.WARMER_FENCE_RECORDS = 2
        claim(store, "thing:1")
        for number in range(10, 20):
            store.invalidate([f"thing:{number}"])
        assert claim(store, "thing:1").mine == ("thing:1",)

    def test_absence__costs_no_round_trip(self, absences: Store, redis_client: Redis) -> None:
        absences.write(absences.token(THINGS), {}, ["thing:1"])
        redis_client.config_resetstat()
        absences.lookup(["thing:1", "thing:2"])
        calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
        assert calls == {"cmdstat_mget": 1, "cmdstat_config|resetstat": 1}


class TestDjangoRedis(RedisContract):
    @pytest.fixture
    def caches(self, settings: Any) -> dict[str, Any]:
        return dict(settings.CACHES)

    @pytest.mark.parametrize(
        "changed",
        [
            {"KEY_PREFIX": "a longer prefix", "VERSION": 12},
            {"KEY_PREFIX": "präfix"},
            {"KEY_FUNCTION": f"{__name__}.hashed_key"},
        ],
        ids=["prefix", "not ascii", "key function"],
    )
    def test_store__knows_its_keys_however_they_are_made(
        self, settings: Any, changed: dict[str, Any], redis_client: Redis
    ) -> None:
        settings.CACHES = {"default": {**settings.CACHES["default"], **changed}}
        store = open_things()
        token = store.token(THINGS)
        store.invalidate(["thing:1"])
        assert fill(store, token, "thing:1", "thing:2") == {"thing:1": SUPERSEDED, "thing:2": WRITTEN}
        assert redis_client.exists(str(cache.make_key("thing:2")))
        if "KEY_FUNCTION" not in changed:
            invalidate_all(store)
            assert cache.get("thing:2") is None


class TestDjangosOwnRedis(RedisContract):
    @pytest.fixture
    def caches(self, redis_server: RedisServer) -> dict[str, Any]:
        backend = "django.core.cache.backends.redis.RedisCache"
        return {"default": {"BACKEND": backend, "LOCATION": redis_server.url(CACHE_DATABASE)}}
