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

    def test_write__overtaken_meanwhile_is_taken_back(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_calls__are_one_round_trip_each(self, store: Store, absences: Store, redis_client: Redis) -> None:
        def calls_of(call: Callable[[], Any]) -> dict[str, int]:
            redis_client.config_resetstat()
            call()
            stats = redis_client.info("commandstats")
            return {name: each["calls"] for name, each in stats.items() if name != "cmdstat_config|resetstat"}

        made = claim(store, "thing:0")
        store.write(made.token, {"thing:0": 0}, claim=made)  # the server knows the scripts from now on
        keys, token = [f"thing:{id}" for id in range(100)], store.token(THINGS)
        write = calls_of(lambda: store.write(token, dict.fromkeys(keys, 1)))
        # What the script itself calls is counted too; what arrived is one EVALSHA.
        assert write == {"cmdstat_evalsha": 1, "cmdstat_zscore": 3, "cmdstat_set": 100}
        made = claim(store, "thing:100")
        for call in (
            lambda: claim(store, *(f"thing:{id}" for id in range(100, 200))),
            lambda: store.write(made.token, {"thing:100": 1}, ["thing:2"], claim=made),
        ):
            assert calls_of(call)["cmdstat_evalsha"] == 1
        absences.write(token, {}, ["thing:1"])
        assert calls_of(lambda: absences.lookup(["thing:1", "thing:2"])) == {"cmdstat_mget": 1}

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

    def test_write__full_server_fails_each_key(
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
            lambda: store.write(held.token, {}, claim=held),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="The cache 'default'"):
                call()
        redis_server.start()

    def test_records__trimmed_past_a_token_refuse_it_and_its_claims(self, store: Store, settings: Any) -> None:
        settings.WARMER_FENCE_RECORDS = 4
        token = claim(store, "thing:10").token
        for number in range(10):
            store.invalidate([f"thing:{number}"])
        # Nothing says any more that thing:0 was invalidated: the whole batch is refused.
        assert set(fill(store, token, "thing:0", "thing:99").values()) == {SUPERSEDED}
        assert claim(store, "thing:10").mine == ("thing:10",)


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
    def test_store__knows_its_own_keys(self, settings: Any, changed: dict[str, Any], redis_client: Redis) -> None:
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
