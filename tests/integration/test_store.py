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
from django.test import override_settings
from redis import Connection, Redis

from embedded.redis_server import RedisServer
from tests.integration.claims import ClaimContract, RedisClaimContract, claim
from tests.servers import CACHE_DATABASE
from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import Store, Token, is_fenced, open_store

KEY = KeyTemplate.parse("thing:{id}", keyed=True)


def open_things(**options: Any) -> Store:
    return open_store(alias="default", fence="things", template=KEY, timeout=60.0, **options)


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

    def test_write__is_what_the_cache_itself_reads(self, store: Store) -> None:
        value = {"name": "Ada", "tags": ["a", "b"], "age": 36, "none": None}
        written = store.write(store.token(), {"thing:1": value, "thing:2": 7})
        assert written.outcomes == {"thing:1": Outcome.WRITTEN, "thing:2": Outcome.WRITTEN}
        assert cache.get("thing:1") == value
        assert cache.get("thing:2") == 7

    def test_read__is_what_the_cache_itself_wrote(self, store: Store) -> None:
        cache.set_many({"thing:1": {"a": 1}, "thing:2": 0, "thing:3": ""})
        assert store.read(["thing:1", "thing:2", "thing:3", "thing:4"]) == {
            "thing:1": {"a": 1},
            "thing:2": 0,
            "thing:3": "",
        }

    def test_read__of_nothing(self, store: Store) -> None:
        assert store.read([]) == {}

    def test_write__absent_key_is_deleted(self, store: Store) -> None:
        cache.set("thing:1", "old")
        written = store.write(store.token(), {}, ["thing:1"])
        assert written.outcomes == {"thing:1": Outcome.NO_VALUE}
        assert cache.get("thing:1") is None

    def test_write__overtaken_by_an_invalidation(self, store: Store) -> None:
        token = store.token()
        store.invalidate(["thing:1"])
        written = store.write(token, {"thing:1": "old", "thing:2": "other"})
        assert written.outcomes["thing:1"] is Outcome.SUPERSEDED
        assert cache.get("thing:1") is None
        expected = Outcome.WRITTEN if self.fenced_per_key else Outcome.SUPERSEDED
        assert written.outcomes["thing:2"] is expected

    def test_write__overtaken_absent_key_is_fenced(self, store: Store) -> None:
        token = store.token()
        store.invalidate(["thing:1"])
        cache.set("thing:1", "new")
        assert store.write(token, {}, ["thing:1"]).outcomes == {"thing:1": Outcome.SUPERSEDED}
        assert cache.get("thing:1") == "new"

    def test_write__with_a_token_of_after_the_invalidation(self, store: Store) -> None:
        store.token()
        store.invalidate(["thing:1"])
        assert store.write(store.token(), {"thing:1": "new"}).outcomes["thing:1"] is Outcome.WRITTEN

    def test_write__after_the_cache_was_flushed(self, store: Store) -> None:
        token = store.token()
        cache.clear()
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.SUPERSEDED}
        assert cache.get("thing:1") is None

    def test_write__after_a_flush_and_a_new_fence(self, store: Store) -> None:
        token = store.token()
        cache.clear()
        store.token()
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.SUPERSEDED}

    def test_write__fences_of_two_jobs_are_apart(self, store: Store) -> None:
        other = open_store(alias="default", fence="others", template=KEY, timeout=60.0)
        token = store.token()
        other.token()
        other.invalidate(["thing:1"])
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.WRITTEN}

    def test_write__one_value_that_cannot_be_encoded_costs_one_key(self, store: Store) -> None:
        written = store.write(store.token(), {"thing:1": 1, "thing:2": lambda: None, "thing:3": 3})
        assert written.outcomes == {
            "thing:1": Outcome.WRITTEN,
            "thing:2": Outcome.FAILED,
            "thing:3": Outcome.WRITTEN,
        }
        assert set(written.errors) == {"thing:2"}
        assert cache.get("thing:2") is None

    def test_overtaken__names_what_was_invalidated_since(self, store: Store) -> None:
        token = store.token()
        assert store.overtaken(token, ["thing:1", "thing:2"]) == set()
        store.invalidate(["thing:1"])
        expected = {"thing:1"} if self.fenced_per_key else {"thing:1", "thing:2"}
        assert store.overtaken(token, ["thing:1", "thing:2"]) == expected
        assert store.overtaken(store.token(), ["thing:1"]) == set()
        store.invalidate_all()
        assert store.overtaken(token, ["thing:2"]) == {"thing:2"}

    def test_invalidate__deletes_the_keys(self, store: Store) -> None:
        cache.set_many({"thing:1": 1, "thing:2": 2})
        store.invalidate(["thing:1"])
        assert cache.get_many(["thing:1", "thing:2"]) == {"thing:2": 2}

    def test_invalidate_all__fences_every_write_under_way(self, store: Store) -> None:
        token = store.token()
        store.invalidate_all()
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.SUPERSEDED}

    def has_fence(self, store: Store) -> bool:
        """Say whether the cache holds the fence."""
        raise NotImplementedError

    def let_pass(self, store: Store, seconds: float) -> None:
        """Make the fence as it were so many seconds later."""
        raise NotImplementedError

    def test_replica_lag__an_invalidated_key_is_not_filled_for_so_long(
        self, store: Store, settings: Any
    ) -> None:
        settings.WARMER_REPLICA_LAG = timedelta(seconds=30)
        store.token()
        self.let_pass(store, 31)
        store.invalidate(["thing:1"])
        for _ in range(2):
            assert store.write(store.token(), {"thing:1": "old"}).outcomes == {"thing:1": Outcome.SUPERSEDED}
            self.let_pass(store, 14)
        self.let_pass(store, 3)
        assert store.write(store.token(), {"thing:1": "new"}).outcomes == {"thing:1": Outcome.WRITTEN}

    def test_replica_lag__a_fence_just_made_does_not_know_what_was_invalidated(
        self, store: Store, settings: Any
    ) -> None:
        settings.WARMER_REPLICA_LAG = timedelta(seconds=30)
        store.invalidate_all()
        assert store.write(store.token(), {"thing:1": "old"}).outcomes == {"thing:1": Outcome.SUPERSEDED}
        self.let_pass(store, 31)
        assert store.write(store.token(), {"thing:1": "new"}).outcomes == {"thing:1": Outcome.WRITTEN}

    def test_forget__leaves_no_fence_and_voids_every_token(self, store: Store) -> None:
        token = store.token()
        assert self.has_fence(store)
        store.forget()
        assert not self.has_fence(store)
        assert store.write(token, {"thing:1": "old"}).outcomes == {"thing:1": Outcome.SUPERSEDED}

    def test_remaining__names_what_is_cached(self, store: Store) -> None:
        store.write(store.token(), {"thing:1": 1})
        left = store.remaining(["thing:1", "thing:2"])
        assert set(left) == {"thing:1"}
        assert left["thing:1"] is None or 0 < left["thing:1"] <= 60

    def test_ping(self, store: Store) -> None:
        store.ping()


class GenericContract(StoreContract):
    """What stores do that keep the fence through Django's interface."""

    def has_fence(self, store: Store) -> bool:
        return bool(cache.has_key(store._fence_key))  # type: ignore[attr-defined]

    def let_pass(self, store: Store, seconds: float) -> None:
        fence = store._fence_key  # type: ignore[attr-defined]
        made, _, at = cache.get(fence).partition("@")
        cache.set(fence, f"{made}@{float(at) - seconds}", timeout=None)

    def test_write__overtaken_while_it_writes_is_taken_back(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token, set_many = store.token(), cache.set_many

        def invalidated_just_before(*arguments: Any, **options: Any) -> Any:
            store.invalidate(["thing:1"])
            return set_many(*arguments, **options)

        monkeypatch.setattr(caches["default"], "set_many", invalidated_just_before)
        assert store.write(token, {"thing:1": "old"}).outcomes == {"thing:1": Outcome.SUPERSEDED}
        assert cache.get("thing:1") is None


class TestLocmem(GenericContract):
    @pytest.fixture
    def caches(self) -> dict[str, Any]:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "store"}}

    def test_is_fenced__says_no(self) -> None:
        assert not is_fenced("default")


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

    def test_is_fenced__says_yes(self) -> None:
        assert is_fenced("default")

    def test_write__sets_the_time_to_live(self, store: Store, redis_client: Redis) -> None:
        store.write(store.token(), {"thing:1": 1})
        made = str(cache.make_key("thing:1"))
        assert 0 < redis_client.pttl(made) <= 60_000

    def test_write__jitter_shortens_it(self, redis_client: Redis) -> None:
        store = open_things(jitter=30.0)
        store.write(store.token(), {f"thing:{id}": id for id in range(200)})
        left = [redis_client.pttl(str(cache.make_key(f"thing:{id}"))) for id in range(200)]
        assert 29_000 < min(left) < max(left) <= 60_000
        assert len(set(left)) > 20

    def test_write__is_one_round_trip(self, store: Store, redis_client: Redis) -> None:
        token = store.token()
        store.write(token, {"thing:0": 0})
        redis_client.config_resetstat()
        store.write(token, {f"thing:{id}": id for id in range(100)})
        calls = {
            name.removeprefix("cmdstat_"): stats["calls"]
            for name, stats in redis_client.info("commandstats").items()
        }
        # What the script itself calls is counted too; what arrived is one EVALSHA.
        assert calls == {"evalsha": 1, "zscore": 3, "set": 100, "config|resetstat": 1}

    def test_write__to_a_server_that_forgot_the_scripts(self, store: Store, redis_client: Redis) -> None:
        token = store.token()
        redis_client.script_flush()
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.WRITTEN}

    def test_write__to_a_server_that_forgets_the_scripts_whenever_it_is_asked_for_one(
        self, store: Store, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask = Connection.send_packed_command

        def forget_and_ask(connection: Any, command: Any, *args: Any, **options: Any) -> Any:
            if b"EVALSHA" in b"".join(command):
                redis_client.script_flush()
            return ask(connection, command, *args, **options)

        monkeypatch.setattr(Connection, "send_packed_command", forget_and_ask)
        token = store.token()
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.WRITTEN}
        assert store.begin_write(token, {"thing:2": 2}).end().outcomes == {"thing:2": Outcome.WRITTEN}
        store.invalidate(["thing:1"])
        assert store.read(["thing:1", "thing:2"]) == {"thing:2": 2}

    def test_write__after_the_fence_was_evicted(self, store: Store, redis_client: Redis) -> None:
        token = store.token()
        redis_client.delete(store.fence_key)  # type: ignore[attr-defined]
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.SUPERSEDED}

    def test_write__token_older_than_the_records(self, store: Store, settings: Any) -> None:
        settings.WARMER_FENCE_RECORDS = 4
        token = store.token()
        for number in range(10):
            store.invalidate([f"thing:{number}"])
        # Nothing says any more that thing:0 was invalidated: the whole batch is refused.
        outcomes = store.write(token, {"thing:0": 0, "thing:99": 99}).outcomes
        assert set(outcomes.values()) == {Outcome.SUPERSEDED}

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_write__trimmed_records_never_let_an_old_value_in(
        self, store: Store, settings: Any, limit: int
    ) -> None:
        settings.WARMER_FENCE_RECORDS = limit
        tokens = []
        for number in range(25):
            tokens.append(store.token())
            store.invalidate([f"thing:{number}", f"thing:{number % 5}"])
        for number, token in enumerate(tokens):
            for key in (f"thing:{number}", f"thing:{number % 5}"):
                assert store.write(token, {key: "old"}).outcomes == {key: Outcome.SUPERSEDED}
        assert store.write(store.token(), {"thing:0": 1}).outcomes == {"thing:0": Outcome.WRITTEN}

    def let_pass(self, store: Store, seconds: float) -> None:
        shift_counts(store, -seconds)

    def test_replica_lag__other_keys_are_filled(self, store: Store, settings: Any) -> None:
        settings.WARMER_REPLICA_LAG = timedelta(seconds=30)
        store.token()
        self.let_pass(store, 31)
        store.invalidate(["thing:1"])
        assert store.write(store.token(), {"thing:2": "as ever"}).outcomes == {"thing:2": Outcome.WRITTEN}

    def test_records__are_forgotten_by_age_and_older_tokens_refused(
        self, store: Store, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("warmer.stores.redis.store.FENCE_AGE", timedelta(minutes=10))
        first = store.token()
        store.invalidate([f"thing:{id}" for id in range(100)])
        assert redis_client.zcard(store.fence_key) == 103  # type: ignore[attr-defined]
        shift_counts(store, -800)
        second = store.token()
        store.invalidate(["thing:100"])
        assert redis_client.zcard(store.fence_key) == 4  # type: ignore[attr-defined]
        older = dataclasses.replace(first, counter=first.counter - 800 * 10**6)
        assert store.write(older, {"thing:500": "?"}).outcomes == {"thing:500": Outcome.SUPERSEDED}
        assert store.write(second, {"thing:500": 5, "thing:100": "old"}).outcomes == {
            "thing:500": Outcome.WRITTEN,
            "thing:100": Outcome.SUPERSEDED,
        }

    def test_clock__set_back_lets_no_old_value_in(self, store: Store) -> None:
        store.token()
        shift_counts(store, 3600)  # as if the clock had been an hour ahead until now
        for _ in range(3):
            token = store.token()
            store.invalidate(["thing:1"])
            assert store.write(token, {"thing:1": "old", "thing:2": 2}).outcomes == {
                "thing:1": Outcome.SUPERSEDED,
                "thing:2": Outcome.WRITTEN,
            }

    def test_clock__behind_after_a_failover_lets_no_old_value_in(self, store: Store) -> None:
        token = store.token()
        store.forget()
        store.token()
        shift_counts(store, -3600)  # as if the server that took over were an hour behind
        assert store.write(token, {"thing:1": "old"}).outcomes == {"thing:1": Outcome.SUPERSEDED}

    def test_clock__far_ahead_and_back_refuses_what_is_too_old_to_tell(self, store: Store) -> None:
        token = store.token()
        store.invalidate(["thing:1"])
        shift_counts(store, -86_400)  # as if the clock now jumped a day ahead
        token = dataclasses.replace(token, counter=token.counter - 86_400 * 10**6)
        store.invalidate(["thing:2"])
        assert store.write(token, {"thing:1": "old"}).outcomes == {"thing:1": Outcome.SUPERSEDED}

    def test_invalidate__the_fence_is_bounded(self, store: Store, redis_client: Redis, settings: Any) -> None:
        settings.WARMER_FENCE_RECORDS = 50
        store.token()
        for number in range(40):
            store.invalidate([f"thing:{number}:{each}" for each in range(10)])
        assert redis_client.zcard(store.fence_key) <= 53  # type: ignore[attr-defined]

    def test_invalidate__fences_only_what_was_loaded_before(self, store: Store) -> None:
        store.token()
        store.invalidate(["thing:1"])
        between = store.token()
        store.invalidate(["thing:2"])
        outcomes = store.write(between, {"thing:1": 1, "thing:2": 2, "thing:3": 3}).outcomes
        assert outcomes == {
            "thing:1": Outcome.WRITTEN,
            "thing:2": Outcome.SUPERSEDED,
            "thing:3": Outcome.WRITTEN,
        }

    def test_invalidate_all__sweeps_the_job_and_nothing_else(self, redis_client: Redis) -> None:
        template = KeyTemplate.parse("we[i]rd*:{id}:x", keyed=True)
        store = open_store(alias="default", fence="weird", template=template, timeout=60.0)
        mine = {f"we[i]rd*:{id}:x": id for id in range(2_500)}
        others = {"weird:1:x": 1, "we[i]rd*:1:y": 2, "we[i]rdly:1:x": 3, "we[i]rd*:1:z:x": 4}
        cache.set_many(mine | others)
        store.invalidate_all()
        assert cache.get_many(mine) == {}
        assert cache.get_many(others) == others

    def test_read__value_of_another_serializer_is_a_miss(self, store: Store, redis_client: Redis) -> None:
        redis_client.set(str(cache.make_key("thing:1")), b"\x80\x04not a value")
        cache.set("thing:2", 2)
        assert store.read(["thing:1", "thing:2"]) == {"thing:2": 2}

    def test_write__server_that_is_full_is_told_per_key(
        self, store: Store, redis_server: RedisServer, redis_client: Redis
    ) -> None:
        token = store.token()
        redis_client.config_set("maxmemory-policy", "noeviction")
        redis_client.config_set("maxmemory", 1)
        try:
            written = store.write(token, {"thing:1": 1})
        except StoreUnavailable as error:
            assert "maxmemory" in str(error)
        else:
            assert written.outcomes == {"thing:1": Outcome.FAILED}
            assert "maxmemory" in written.errors["thing:1"]
        assert redis_client.get(str(cache.make_key("thing:1"))) is None

    def test_every_call__cache_down_is_one_clear_error(self, store: Store, redis_server: RedisServer) -> None:
        token, held = store.token(), claim(store, "thing:1")
        redis_server.stop()
        calls: list[Callable[[], object]] = [
            store.ping,
            store.token,
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
            with pytest.raises(StoreUnavailable, match=r"cache 'default' at 127\.0\.0\.1:\d+/0"):
                call()
        redis_server.start()

    def test_write__after_a_restart_that_lost_everything(
        self, store: Store, redis_server: RedisServer
    ) -> None:
        token = store.token()
        redis_server.restart()
        store.token()
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.SUPERSEDED}


class TestDjangoRedis(RedisContract):
    @pytest.fixture
    def caches(self, settings: Any) -> dict[str, Any]:
        return dict(settings.CACHES)

    def test_write__under_a_prefix_and_version(self, caches: Any, redis_client: Redis) -> None:
        prefixed = {"default": {**caches["default"], "KEY_PREFIX": "site", "VERSION": 3}}
        with override_settings(CACHES=prefixed):
            store = open_things()
            token = store.token()
            store.write(token, {"thing:1": "here"})
            assert cache.get("thing:1") == "here"
            assert redis_client.exists("site:3:thing:1")
            store.invalidate_all()
            assert cache.get("thing:1") is None

    @pytest.mark.parametrize(
        "changed",
        [
            {"KEY_PREFIX": "a longer prefix", "VERSION": 12},
            {"KEY_PREFIX": "präfix"},
            {"KEY_FUNCTION": f"{__name__}.hashed_key"},
        ],
        ids=["prefix", "not ascii", "key function"],
    )
    def test_write__knows_what_was_invalidated_however_keys_are_made(
        self, caches: Any, changed: dict[str, Any], redis_client: Redis
    ) -> None:
        with override_settings(CACHES={"default": {**caches["default"], **changed}}):
            store = open_things()
            token = store.token()
            store.invalidate(["thing:1"])
            outcomes = store.write(token, {"thing:1": "old", "thing:2": "as ever"}).outcomes
            assert outcomes == {"thing:1": Outcome.SUPERSEDED, "thing:2": Outcome.WRITTEN}
            assert cache.get_many(["thing:1", "thing:2"]) == {"thing:2": "as ever"}
            assert redis_client.exists(str(cache.make_key("thing:2")))


class TestDjangosOwnRedis(RedisContract):
    @pytest.fixture
    def caches(self, redis_server: RedisServer) -> dict[str, Any]:
        backend = "django.core.cache.backends.redis.RedisCache"
        return {"default": {"BACKEND": backend, "LOCATION": redis_server.url(CACHE_DATABASE)}}


def test_token__is_plain_data() -> None:
    assert Token(generation="a", counter=1) == Token(generation="a", counter=1)
