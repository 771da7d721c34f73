"""What every store does, and what one does that keeps the full fence: the contract, for `test_*.py`."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from tests.package.stores.claims import ClaimContract
from tests.support.stores import (
    SUPERSEDED,
    THINGS,
    WRITTEN,
    claim,
    claims,
    fences,
    fill,
    invalidate_all,
    open_things,
    shift_counts,
)
from warmer.report import Outcome
from warmer.stores import Store, is_fenced


class StoreContract(ClaimContract):
    """What every store does. A subclass's `caches` gives the settings of its cache."""

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
        return bool(fences(store))

    def let_pass(self, store: Any, seconds: float) -> None:
        """Make the fence as it were so many seconds later."""
        shift_counts(store, -seconds)

    def test_values__are_what_the_cache_itself_reads_and_writes(self, store: Store) -> None:
        store.ping()
        values = {"thing:1": {"name": "Ada", "tags": ["a"], "none": None}, "thing:2": 0, "thing:3": ""}
        assert store.write(store.token(THINGS), values).outcomes == dict.fromkeys(values, WRITTEN)
        assert cache.get_many(values) == values
        cache.set("thing:4", "plain")
        assert store.lookup([*values, "thing:4", "thing:5"]).values == values | {"thing:4": "plain"}
        assert store.lookup([]).values == {}
        left = store.remaining(["thing:1", "thing:5"])
        assert set(left) == {"thing:1"}
        assert left["thing:1"] is None or 0 < left["thing:1"] <= 60

    @pytest.mark.parametrize(("overtaken", "outcome"), [(False, Outcome.NO_VALUE), (True, SUPERSEDED)])
    def test_write__deletes_absent_key_unless_overtaken(self, store: Store, overtaken: bool, outcome: Outcome) -> None:
        token = store.token(THINGS)
        if overtaken:
            store.invalidate(["thing:1"])
        cache.set("thing:1", "there")
        assert store.write(token, {}, ["thing:1"]).outcomes == {"thing:1": outcome}
        assert cache.get("thing:1") == ("there" if overtaken else None)

    def test_write__overtaken_by_an_invalidation(self, store: Store) -> None:
        cache.set_many({"thing:1": 1, "thing:3": 3})
        token = store.token(THINGS)
        store.invalidate(["thing:1"])
        assert cache.get_many(["thing:1", "thing:3"]) == {"thing:3": 3}
        expected = WRITTEN if self.fenced_per_key else SUPERSEDED
        assert fill(store, token, "thing:1", "thing:2") == {"thing:1": SUPERSEDED, "thing:2": expected}
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": WRITTEN}

    @pytest.mark.parametrize("new_fence", [False, True])
    @pytest.mark.parametrize("way", ["flushed", "forgotten", "whole job"])
    def test_write__without_the_fence_of_its_token(self, store: Store, way: str, new_fence: bool) -> None:
        token = claim(store, "thing:1").token
        assert self.has_fence(store)
        if way == "flushed":
            cache.clear()
        elif way == "forgotten":
            store.forget()
            assert not self.has_fence(store)
        else:
            invalidate_all(store)
        if new_fence:
            store.token(THINGS)
        assert fill(store, token, "thing:1") == {"thing:1": SUPERSEDED}
        assert claim(store, "thing:1").mine == ("thing:1",), "the claim is void, too"

    def test_write__fences_of_two_jobs_are_apart(self, store: Store) -> None:
        other = open_things("other:{id}")
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
        invalidate_all(store)
        assert store.overtaken(token, ["thing:2"]) == {"thing:2"}

    def test_replica_lag__an_invalidated_key_is_not_filled_for_so_long(self, store: Store, settings: Any) -> None:
        settings.WARMER_REPLICA_LAG = timedelta(seconds=30)
        invalidate_all(store)
        # A fence that was just made does not know what was invalidated before.
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": SUPERSEDED}
        self.let_pass(store, 31)
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": WRITTEN}
        store.invalidate(["thing:1"])
        if self.fenced_per_key:
            assert fill(store, store.token(THINGS), "thing:2") == {"thing:2": WRITTEN}
            for _ in range(2):  # nobody waits for a load that is not stored
                assert claim(store, "thing:1").mine == ("thing:1",)
        for _ in range(2):
            assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": SUPERSEDED}
            self.let_pass(store, 14)
        self.let_pass(store, 3)
        assert fill(store, store.token(THINGS), "thing:1") == {"thing:1": WRITTEN}


class FencedContract(StoreContract):
    """What a store in Redis does besides."""

    fenced_per_key = True

    def test_write__sets_the_time_to_live(self, store: Store, redis_client: Redis) -> None:
        assert is_fenced("default")
        keys = [f"thing:{id}" for id in range(200)]
        fill(store, store.token(keys), *keys)
        assert 0 < redis_client.pttl(":1:thing:1") <= 60_000
        store = open_things(jitter=30.0)
        fill(store, store.token(keys), *keys)
        left = [redis_client.pttl(f":1:{key}") for key in keys]
        assert 29_000 < min(left) < max(left) <= 60_000
        assert len(set(left)) > 20

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_write__trimmed_records_never_let_an_old_value_in(
        self, store: Any, settings: Any, redis_client: Redis, limit: int
    ) -> None:
        settings.WARMER_FENCE_RECORDS = limit
        tokens = []
        for number in range(25):
            tokens.append(store.token(THINGS))
            store.invalidate([f"thing:{number}", f"thing:{number % 5}"])
            assert all(redis_client.zcard(fence) <= limit + 3 for fence in fences(store))
        for number, token in enumerate(tokens):
            keys = {f"thing:{number}", f"thing:{number % 5}"}
            assert fill(store, token, *keys) == dict.fromkeys(keys, SUPERSEDED)
        assert fill(store, store.token(THINGS), "thing:0") == {"thing:0": WRITTEN}

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

    def test_invalidate__fences_only_what_was_loaded_before(self, store: Store) -> None:
        store.token(THINGS)
        store.invalidate(["thing:1"])
        between = store.token(THINGS)
        store.invalidate(["thing:2"])
        assert fill(store, between, "thing:1", "thing:2") == {"thing:1": WRITTEN, "thing:2": SUPERSEDED}

    def test_invalidate_all__sweeps_the_job_and_nothing_else(self, redis_client: Redis) -> None:
        store, other = (open_things(key, absent_timeout=60.0) for key in ("we[i]rd*:{id}:x", "weird:{id}:x"))
        others = {"weird:1:x": 1, "we[i]rd*:1:y": 2, "we[i]rdly:1:x": 3, "we[i]rd*:1:z:x": 4}
        cache.set_many({f"we[i]rd*:{id}:x": id for id in range(1_300)} | others)  # more than one chunk
        absent = [f"we[i]rd*:{id}:x" for id in range(1_000, 2_200)]
        store.write(store.token(absent), {}, absent)
        other.write(other.token(["weird:2:x"]), {}, ["weird:2:x"])
        fence = fences(other)
        invalidate_all(store)
        assert {name.decode() for name in redis_client.scan_iter()} == {
            *(f":1:{key}" for key in others),
            *fence,
            "{:1:weird:2:x}:absent",
        }

    def test_claim__of_what_cannot_be_read(self, store: Store, redis_client: Redis) -> None:
        redis_client.set(":1:thing:1", b"\x80\x04not a value")
        redis_client.hset(":1:thing:3", "of", "another type")
        cache.set("thing:2", 2)
        assert store.lookup(["thing:1", "thing:2"]).values == {"thing:2": 2}
        first, second = claim(store, "thing:1", "thing:2", "thing:3"), claim(store, "thing:1")
        assert (sorted(first.mine), first.values) == (["thing:1", "thing:3"], {"thing:2": 2})
        assert second.theirs == {"thing:1": first.id}
        store.write(first.token, {"thing:1": 1, "thing:3": 3}, claim=first)
        assert claim(store, "thing:1", "thing:3").values == {"thing:1": 1, "thing:3": 3}

    @pytest.mark.parametrize("nonsense", ["nonsense", "a b x 1", "a b 1 1 1", ""])
    def test_claim__something_else_in_its_place_is_none(self, store: Store, redis_client: Redis, nonsense: str) -> None:
        redis_client.set("{:1:thing:1}:claim", nonsense)
        assert claims(store, "thing:1") == {}
        assert claim(store, "thing:1").mine == ("thing:1",)

    def test_claim__and_absence_stand_beside_their_key_and_expire(self, absences: Store, redis_client: Redis) -> None:
        made = claim(absences, "thing:1", "thing:2")
        absences.write(made.token, {}, ["thing:1"])
        beside = {"{:1:thing:1}:absent", "{:1:thing:1}:claim", "{:1:thing:2}:claim"}
        names = {name.decode() for name in redis_client.scan_iter()}
        assert names == {*fences(absences), *beside}
        assert all(0 < redis_client.pttl(name) <= 30_000 for name in beside)
