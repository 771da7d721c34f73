"""The interface of a store, kept by every cache that Django knows; the full fence, by Redis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache, caches
from redis import Connection, Redis

from embedded.redis_server import RedisServer
from tests.package.stores.claims import THINGS, ClaimContract, RedisClaimContract, claim
from tests.servers import CACHE_DATABASE
from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import Store, Token, is_fenced, open_store

KEY = KeyTemplate.parse("thing:{id}", keyed=True)
WRITTEN, SUPERSEDED = Outcome.WRITTEN, Outcome.SUPERSEDED


def open_things(**options: Any) -> Store:
    return open_store(alias="default", **{"fence": "things", "template": KEY, "timeout": 60.0} | options)


def fill(store: Store, token: Token, *keys: str) -> dict[str, Outcome]:
    """Write the value "filled" to each key; return the outcomes, which say what is cached."""
    before = cache.get_many(keys)
    outcomes = dict(store.write(token, dict.fromkeys(keys, "filled")).outcomes)
    written = {key: "filled" for key, outcome in outcomes.items() if outcome is WRITTEN}
    assert cache.get_many(keys) == before | written
    return outcomes


def hashed_key(key: str, prefix: str, version: int) -> str:
    """A project's own `KEY_FUNCTION`, which leaves nothing of a key to be seen."""
    return sha256(f"{prefix}{version}{key}".encode()).hexdigest()


def shift_counts(store: Any, seconds: float) -> None:
    """Set all counts of a fence as if the server's clock had been so much ahead when they were made."""
    with store._server() as server:
        for member, count in server.zrange(store.fence_key, 0, -1, withscores=True):
            if count >= 0:
                server.zadd(store.fence_key, {member: count + seconds * 10**6})


class StoreContract(ClaimContract):
    """What every store does. A subclass's `caches` gives the settings of its cache."""

    fenced_per_key = False

    @pytest.fixture(autouse=True)
    def _use(self, caches: dict[str, Any], settings: Any) -> Iterator[None]:
        settings.CACHES = caches
        cache.clear()
        yield
        cache.clear()

    @pytest.fixture
    def store(self) -> Store:
        return open_things()

    @pytest.fixture
    def absences(self) -> Store:
        return open_things(absent_timeout=30.0)

    def has_fence(self, store: Any) -> bool:
        """Return whether the cache holds the fence."""
        raise NotImplementedError

    def let_pass(self, store: Any, seconds: float) -> None:
        """Make the fence as it were so many seconds later."""
        raise NotImplementedError

    def test_values__are_what_the_cache_itself_reads_and_writes(self, store: Store) -> None:
        store.ping()
        values = {"thing:1": {"name": "Ada", "tags": ["a"], "none": None}, "thing:2": 0, "thing:3": ""}
        assert store.write(store.token(THINGS), values).outcomes == dict.fromkeys(values, WRITTEN)
        assert cache.get_many(values) == values
        cache.set("thing:4", "plain")
        assert store.read([*values, "thing:4", "thing:5"]) == values | {"thing:4": "plain"}
        assert store.read([]) == {}
        left = store.remaining(["thing:1", "thing:5"])
        assert set(left) == {"thing:1"}
        assert left["thing:1"] is None or 0 < left["thing:1"] <= 60

    def test_write__absent_key_is_deleted(self, store: Store) -> None:
        cache.set("thing:1", "old")
        assert store.write(store.token(THINGS), {}, ["thing:1"]).outcomes == {"thing:1": Outcome.NO_VALUE}
        assert cache.get("thing:1") is None

    def test_write__overtaken_by_an_invalidation(self, store: Store) -> None:
        cache.set_many({"thing:1": 1, "thing:3": 3})
        token = store.token(THINGS)
        store.invalidate(["thing:1"])
        assert cache.get_many(["thing:1", "thing:3"]) == {"thing:3": 3}
        expected = WRITTEN if self.fenced_per_key else SUPERSEDED
        assert fill(store, token, "thing:1", "thing:2") == {"thing:1": SUPERSEDED, "thing:2": expected}
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": WRITTEN}

    def test_write__overtaken_absent_key_stays(self, store: Store) -> None:
        token = store.token(THINGS)
        store.invalidate(["thing:1"])
        cache.set("thing:1", "new")
        assert store.write(token, {}, ["thing:1"]).outcomes == {"thing:1": SUPERSEDED}
        assert cache.get("thing:1") == "new"

    @pytest.mark.parametrize("new_fence", [False, True])
    @pytest.mark.parametrize("way", ["flushed", "forgotten", "whole job"])
    def test_write__without_the_fence_of_its_token(self, store: Store, way: str, new_fence: bool) -> None:
        token = store.token(THINGS)
        assert self.has_fence(store)
        if way == "flushed":
            cache.clear()
        elif way == "forgotten":
            store.forget()
            assert not self.has_fence(store)
        else:
            store.invalidate_all()
        if new_fence:
            store.token(THINGS)
        assert fill(store, token, "thing:1") == {"thing:1": SUPERSEDED}

    def test_write__fences_of_two_jobs_are_apart(self, store: Store) -> None:
        other = open_things(fence="others")
        token = store.token(THINGS)
        other.token(THINGS)
        other.invalidate(["thing:1"])
        assert fill(store, token, "thing:1") == {"thing:1": WRITTEN}

    def test_write__one_value_that_cannot_be_encoded_costs_one_key(self, store: Store) -> None:
        written = store.write(store.token(THINGS), {"thing:1": 1, "thing:2": lambda: None, "thing:3": 3})
        assert written.outcomes == {"thing:1": WRITTEN, "thing:2": Outcome.FAILED, "thing:3": WRITTEN}
        assert set(written.errors) == {"thing:2"}
        assert cache.get("thing:2") is None

    def test_overtaken__names_what_was_invalidated_since(self, store: Store) -> None:
        token = store.token(THINGS)
        assert store.overtaken(token, ["thing:1", "thing:2"]) == set()
        store.invalidate(["thing:1"])
        expected = {"thing:1"} if self.fenced_per_key else {"thing:1", "thing:2"}
        assert store.overtaken(token, ["thing:1", "thing:2"]) == expected
        assert store.overtaken(store.token(THINGS), ["thing:1"]) == set()
        store.invalidate_all()
        assert store.overtaken(token, ["thing:2"]) == {"thing:2"}

    def test_replica_lag__an_invalidated_key_is_not_filled_for_so_long(
        self, store: Store, settings: Any
    ) -> None:
        settings.WARMER_REPLICA_LAG = timedelta(seconds=30)
        store.token(THINGS)
        self.let_pass(store, 31)
        store.invalidate(["thing:1"])
        if self.fenced_per_key:
            assert fill(store, store.token(THINGS), "thing:2") == {"thing:2": WRITTEN}
        for _ in range(2):
            assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": SUPERSEDED}
            self.let_pass(store, 14)
        self.let_pass(store, 3)
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": WRITTEN}

    def test_replica_lag__a_fence_just_made_does_not_know_what_was_invalidated(
        self, store: Store, settings: Any
    ) -> None:
        settings.WARMER_REPLICA_LAG = timedelta(seconds=30)
        store.invalidate_all()
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": SUPERSEDED}
        self.let_pass(store, 31)
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": WRITTEN}


class GenericContract(StoreContract):
    """What stores do that keep the fence through Django's interface."""

    def has_fence(self, store: Any) -> bool:
        return bool(cache.has_key(store._fence_key))

    def let_pass(self, store: Any, seconds: float) -> None:
        made, _, at = cache.get(store._fence_key).partition("@")
        cache.set(store._fence_key, f"{made}@{float(at) - seconds}", timeout=None)

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


class RedisContract(RedisClaimContract, StoreContract):
    """What a store in Redis does besides."""

    fenced_per_key = True

    def has_fence(self, store: Any) -> bool:
        with store._server() as server:
            return bool(server.exists(store.fence_key))

    def let_pass(self, store: Any, seconds: float) -> None:
        shift_counts(store, -seconds)

    def test_write__sets_the_time_to_live(self, store: Store, redis_client: Redis) -> None:
        assert is_fenced("default")
        keys = [f"thing:{id}" for id in range(200)]
        fill(store, store.token(THINGS), *keys)
        assert 0 < redis_client.pttl(":1:thing:1") <= 60_000
        store = open_things(jitter=30.0)
        fill(store, store.token(THINGS), *keys)
        left = [redis_client.pttl(f":1:{key}") for key in keys]
        assert 29_000 < min(left) < max(left) <= 60_000
        assert len(set(left)) > 20

    def test_write__is_one_round_trip(self, store: Store, redis_client: Redis) -> None:
        token = store.token(THINGS)
        store.write(token, {"thing:0": 0})
        redis_client.config_resetstat()
        store.write(token, {f"thing:{id}": id for id in range(100)})
        calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
        # What the script itself calls is counted too; what arrived is one EVALSHA.
        assert calls == {
            "cmdstat_evalsha": 1,
            "cmdstat_zscore": 3,
            "cmdstat_set": 100,
            "cmdstat_config|resetstat": 1,
        }

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
        assert store.read(["thing:1", "thing:2"]) == {"thing:2": 2}

    def test_write__after_a_restart_that_lost_everything(
        self, store: Store, redis_server: RedisServer
    ) -> None:
        token = store.token(THINGS)
        redis_server.restart()
        store.token(THINGS)
        assert fill(store, token, "thing:1") == {"thing:1": SUPERSEDED}

    def test_write__token_older_than_the_records(self, store: Store, settings: Any) -> None:
        settings.WARMER_FENCE_RECORDS = 4
        token = store.token(THINGS)
        for number in range(10):
            store.invalidate([f"thing:{number}"])
        # Nothing says any more that thing:0 was invalidated: the whole batch is refused.
        assert set(fill(store, token, "thing:0", "thing:99").values()) == {SUPERSEDED}

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_write__trimmed_records_never_let_an_old_value_in(
        self, store: Any, settings: Any, redis_client: Redis, limit: int
    ) -> None:
        settings.WARMER_FENCE_RECORDS = limit
        tokens = []
        for number in range(25):
            tokens.append(store.token(THINGS))
            store.invalidate([f"thing:{number}", f"thing:{number % 5}"])
            assert redis_client.zcard(store.fence_key) <= limit + 3
        for number, token in enumerate(tokens):
            for key in (f"thing:{number}", f"thing:{number % 5}"):
                assert fill(store, token, key) == {key: SUPERSEDED}
        assert fill(store, store.token(THINGS), "thing:0") == {"thing:0": WRITTEN}

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
        assert fill(store, second, "thing:500", "thing:100") == {
            "thing:500": WRITTEN,
            "thing:100": SUPERSEDED,
        }

    def test_clock__set_back_lets_no_old_value_in(self, store: Store) -> None:
        store.token(THINGS)
        shift_counts(store, 3600)  # as if the clock had been an hour ahead until now
        for _ in range(3):
            token = store.token(THINGS)
            store.invalidate(["thing:1"])
            assert fill(store, token, "thing:1", "thing:2") == {"thing:1": SUPERSEDED, "thing:2": WRITTEN}

    def test_clock__behind_after_a_failover_lets_no_old_value_in(self, store: Store) -> None:
        token = store.token(THINGS)
        store.forget()
        store.token(THINGS)
        shift_counts(store, -3600)  # as if the server that took over were an hour behind
        assert fill(store, token, "thing:1") == {"thing:1": SUPERSEDED}

    def test_clock__far_ahead_and_back_refuses_what_is_too_old_to_tell(self, store: Store) -> None:
        token = store.token(THINGS)
        store.invalidate(["thing:1"])
        shift_counts(store, -86_400)  # as if the clock now jumped a day ahead
        token = dataclasses.replace(token, counter=token.counter - 86_400 * 10**6)
        store.invalidate(["thing:2"])
        assert fill(store, token, "thing:1") == {"thing:1": SUPERSEDED}

    def test_invalidate__fences_only_what_was_loaded_before(self, store: Store) -> None:
        store.token(THINGS)
        store.invalidate(["thing:1"])
        between = store.token(THINGS)
        store.invalidate(["thing:2"])
        assert fill(store, between, "thing:1", "thing:2") == {"thing:1": WRITTEN, "thing:2": SUPERSEDED}

    def test_invalidate_all__sweeps_the_job_and_nothing_else(self, redis_client: Redis) -> None:
        store, other = (
            open_things(fence=key, template=KeyTemplate.parse(key, keyed=True), absent_timeout=60.0)
            for key in ("we[i]rd*:{id}:x", "weird:{id}:x")
        )
        others = {"weird:1:x": 1, "we[i]rd*:1:y": 2, "we[i]rdly:1:x": 3, "we[i]rd*:1:z:x": 4}
        cache.set_many({f"we[i]rd*:{id}:x": id for id in range(2_500)} | others)
        store.write(store.token(THINGS), {}, [f"we[i]rd*:{id}:x" for id in range(2_000, 3_500)])
        other.write(other.token(THINGS), {}, ["weird:2:x"])
        store.invalidate_all()
        assert {name.decode() for name in redis_client.scan_iter()} == {
            *(f":1:{key}" for key in others),
            ":warmer-fence:weird:{id}:x",
            "{:1:weird:2:x}:absent",
        }

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
            lambda: store.read(["thing:1"]),
            lambda: store.write(token, {"thing:1": 1}),
            lambda: store.invalidate(["thing:1"]),
            store.invalidate_all,
            lambda: store.remaining(["thing:1"]),
            lambda: store.lookup(["thing:1"], claims=True),
            lambda: store.claim(["thing:1"], seconds=1.0),
            lambda: store.release(held),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="The cache 'default'"):
                call()
        redis_server.start()


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
            store.invalidate_all()
            assert cache.get("thing:2") is None


class TestDjangosOwnRedis(RedisContract):
    @pytest.fixture
    def caches(self, redis_server: RedisServer) -> dict[str, Any]:
        backend = "django.core.cache.backends.redis.RedisCache"
        return {"default": {"BACKEND": backend, "LOCATION": redis_server.url(CACHE_DATABASE)}}
