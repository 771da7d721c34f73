"""What every store does about claims and absences: part of its contract, for `test_store.py`.

A subclass has the fixtures `store` and `absences`, a store that caches absences too.
"""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from redis import Redis

from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import Claim, Store, open_store


def claim(store: Store, *keys: str) -> Claim:
    """Claim keys for half a minute."""
    return store.claim(list(keys), seconds=30.0)


class ClaimContract:
    """What every store does."""

    fenced_per_key = False

    def test_claim__is_for_one(self, store: Store) -> None:
        first, second = claim(store, "thing:1"), claim(store, "thing:1", "thing:2")
        assert (first.mine, dict(first.theirs)) == (("thing:1",), {})
        assert (second.mine, dict(second.theirs)) == (("thing:2",), {"thing:1": first.id})
        assert first.id != second.id

    def test_claim__comes_with_a_token(self, store: Store) -> None:
        assert claim(store, "thing:1").token == store.token()
        store.invalidate(["thing:2"])
        assert claim(store, "thing:1").token == store.token()

    def test_claim__what_is_cached_by_now_is_told_instead(self, store: Store) -> None:
        cache.set("thing:1", {"a": 1})
        told = claim(store, "thing:1", "thing:2")
        assert (told.values, told.mine) == ({"thing:1": {"a": 1}}, ("thing:2",))
        assert set(store.lookup(["thing:1", "thing:2"], claims=True).claims) == {"thing:2"}

    def test_claim__is_seen_by_those_who_look_for_it(self, store: Store) -> None:
        made = claim(store, "thing:1")
        assert store.lookup(["thing:1", "thing:2"]).claims == {}
        seen = store.lookup(["thing:1", "thing:2"], claims=True).claims
        assert {key: (record.holder, record.token) for key, record in seen.items()} == {
            "thing:1": (made.id, made.token)
        }

    def test_claim__ends_with_the_write(self, store: Store) -> None:
        made = claim(store, "thing:1", "thing:2")
        written = store.write(made.token, {"thing:1": 1}, claim=made)
        assert written.outcomes == {"thing:1": Outcome.WRITTEN}
        # Of what it did not load, too.
        assert store.lookup(["thing:1", "thing:2"], claims=True).claims == {}
        assert claim(store, "thing:2").mine == ("thing:2",)

    def test_claim__ends_with_a_write_that_is_fenced(self, store: Store) -> None:
        made = claim(store, "thing:1")
        store.invalidate(["thing:1"])
        assert store.write(made.token, {"thing:1": 1}, claim=made).outcomes == {"thing:1": Outcome.SUPERSEDED}
        assert store.lookup(["thing:1"], claims=True).claims == {}

    def test_claim__ends_with_a_write_that_fails(self, store: Store) -> None:
        made = claim(store, "thing:1")
        assert store.write(made.token, {"thing:1": lambda: None}, claim=made).outcomes == {
            "thing:1": Outcome.FAILED
        }
        assert store.lookup(["thing:1"], claims=True).claims == {}

    def test_claim__ends_when_it_is_released(self, store: Store) -> None:
        cache.set("thing:3", "untouched")
        made = claim(store, "thing:1", "thing:2")
        store.release(made)
        assert store.lookup(["thing:1", "thing:2"], claims=True).claims == {}
        assert cache.get_many(["thing:1", "thing:2", "thing:3"]) == {"thing:3": "untouched"}

    def test_claim__is_no_fence(self, store: Store) -> None:
        token = store.token()
        claim(store, "thing:1")
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": Outcome.WRITTEN}

    def test_claim__is_void_after_an_invalidation_of_its_key(self, store: Store) -> None:
        old = claim(store, "thing:1")
        store.invalidate(["thing:1"])
        new = claim(store, "thing:1")
        assert new.mine == ("thing:1",)
        # The old one's end is not the new one's.
        store.release(old)
        assert store.lookup(["thing:1"], claims=True).claims["thing:1"].holder == new.id

    def test_claim__stands_after_an_invalidation_of_another_key(self, store: Store) -> None:
        old = claim(store, "thing:1")
        store.invalidate(["thing:2"])
        expected = {"thing:1": old.id} if self.fenced_per_key else {}
        assert claim(store, "thing:1").theirs == expected

    def test_claim__is_void_after_an_invalidation_of_the_job(self, store: Store) -> None:
        claim(store, "thing:1")
        store.invalidate_all()
        assert claim(store, "thing:1").mine == ("thing:1",)

    def test_claim__absent_key_is_told_to_those_who_waited(self, store: Store) -> None:
        made = claim(store, "thing:1")
        store.write(made.token, {}, ["thing:1"], claim=made)
        told = store.lookup(["thing:1"], claims=True).claims["thing:1"]
        assert told.tells_absence_to(made.id)
        # Who comes later loads; to those who waited the next claim still tells it, and to his own not.
        later = claim(store, "thing:1")
        assert (later.mine, dict(later.theirs)) == (("thing:1",), {})
        seen = store.lookup(["thing:1"], claims=True).claims["thing:1"]
        assert seen.tells_absence_to(made.id)
        assert not seen.tells_absence_to(later.id)

    def test_claim__after_one_that_found_a_value_or_failed_tells_no_absence(self, store: Store) -> None:
        made = claim(store, "thing:1")
        store.release(made)
        claim(store, "thing:1")
        assert not store.lookup(["thing:1"], claims=True).claims["thing:1"].tells_absence_to(made.id)

    def test_claim__absence_of_before_an_invalidation_is_told_to_nobody(self, store: Store) -> None:
        made = claim(store, "thing:1")
        store.invalidate(["thing:1"])
        store.write(made.token, {}, ["thing:1"], claim=made)
        assert store.lookup(["thing:1"], claims=True).claims == {}
        made = claim(store, "thing:1")
        store.write(made.token, {}, ["thing:1"], claim=made)
        store.invalidate(["thing:1"])
        claim(store, "thing:1")
        assert not store.lookup(["thing:1"], claims=True).claims["thing:1"].tells_absence_to(made.id)

    def test_claim__of_another_job_is_apart(self, store: Store) -> None:
        other = open_store(
            alias="default",
            fence="others",
            template=KeyTemplate.parse("other:{id}", keyed=True),
            timeout=60.0,
        )
        claim(store, "thing:1")
        assert claim(other, "other:1").mine == ("other:1",)

    def test_absence__is_cached_when_that_is_asked_for(self, absences: Store) -> None:
        absences.write(absences.token(), {"thing:2": 2}, ["thing:1"])
        cached = absences.lookup(["thing:1", "thing:2", "thing:3"])
        assert (cached.values, cached.absent) == ({"thing:2": 2}, {"thing:1"})
        assert cache.get("thing:1") is None
        assert claim(absences, "thing:1", "thing:3").absent == {"thing:1"}

    def test_absence__is_not_cached_otherwise(self, store: Store, absences: Store) -> None:
        store.write(store.token(), {}, ["thing:1"])
        assert store.lookup(["thing:1"]).absent == absences.lookup(["thing:1"]).absent == set()
        absences.write(absences.token(), {}, ["thing:1"])
        assert store.lookup(["thing:1"]).absent == set()

    def test_absence__ends_with_a_value(self, absences: Store) -> None:
        absences.write(absences.token(), {}, ["thing:1"])
        absences.write(absences.token(), {"thing:1": 1})
        cache.delete("thing:1")
        assert absences.lookup(["thing:1"]).absent == set()

    def test_absence__a_value_that_the_cache_got_elsewhere_is_stronger(self, absences: Store) -> None:
        absences.write(absences.token(), {}, ["thing:1"])
        cache.set("thing:1", 1)
        cached = absences.lookup(["thing:1"])
        assert (cached.values, cached.absent) == ({"thing:1": 1}, set())
        told = claim(absences, "thing:1")
        assert (told.values, told.absent) == ({"thing:1": 1}, set())

    def test_absence__ends_with_an_invalidation(self, absences: Store) -> None:
        absences.write(absences.token(), {}, ["thing:1", "thing:2"])
        absences.invalidate(["thing:1"])
        assert absences.lookup(["thing:1", "thing:2"]).absent == {"thing:2"}

    def test_absence__of_before_an_invalidation_is_fenced(self, absences: Store) -> None:
        token = absences.token()
        absences.invalidate(["thing:1"])
        assert absences.write(token, {}, ["thing:1"]).outcomes == {"thing:1": Outcome.SUPERSEDED}
        assert absences.lookup(["thing:1"]).absent == set()

    def test_absence__of_a_single_job_ends_with_its_invalidation(self) -> None:
        template = KeyTemplate.parse("only", keyed=False)
        store = open_store(
            alias="default", fence="only", template=template, timeout=60.0, absent_timeout=60.0
        )
        store.write(store.token(), {}, ["only"])
        assert store.lookup(["only"]).absent == {"only"}
        store.invalidate_all()
        assert store.lookup(["only"]).absent == set()


class RedisClaimContract:
    """What a store in Redis does besides."""

    def test_claim__of_what_cannot_be_read(self, store: Store, redis_client: Redis) -> None:
        redis_client.set(str(cache.make_key("thing:1")), b"\x80\x04not a value")
        cache.set("thing:2", 2)
        first, second = claim(store, "thing:1", "thing:2", "thing:3"), claim(store, "thing:1")
        assert (sorted(first.mine), first.values) == (["thing:1", "thing:3"], {"thing:2": 2})
        assert second.theirs == {"thing:1": first.id}
        store.write(first.token, {"thing:1": 1}, claim=first)
        assert claim(store, "thing:1").values == {"thing:1": 1}

    def test_claim__something_else_in_its_place_is_none(self, store: Store, redis_client: Redis) -> None:
        for nonsense in ("nonsense", "a b x 1", "a b 1 1 1", ""):
            redis_client.set("{:1:thing:1}:claim", nonsense)
            assert store.lookup(["thing:1"], claims=True).claims == {}
            assert claim(store, "thing:1").mine == ("thing:1",)

    def test_claim__of_a_key_of_another_type(self, store: Store, redis_client: Redis) -> None:
        redis_client.hset(str(cache.make_key("thing:1")), "field", "value")
        made = claim(store, "thing:1")
        assert made.mine == ("thing:1",)
        store.write(made.token, {"thing:1": 1}, claim=made)
        assert cache.get("thing:1") == 1

    def test_claim__is_one_round_trip_and_so_is_its_write(self, store: Store, redis_client: Redis) -> None:
        store.release(claim(store, "thing:0"))
        redis_client.config_resetstat()
        made = claim(store, *(f"thing:{id}" for id in range(100)))
        assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
        store.write(made.token, {"thing:1": 1}, ["thing:2"], claim=made)
        assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 2

    def test_claim__ends_by_itself(self, store: Store, redis_client: Redis) -> None:
        claim(store, "thing:1")
        assert 0 < redis_client.pttl("{:1:thing:1}:claim") <= 30_000

    def test_claim__is_void_after_the_records_were_trimmed(self, store: Store, settings: Any) -> None:
        settings.WARMER_FENCE_RECORDS = 2
        claim(store, "thing:1")
        for number in range(10, 20):
            store.invalidate([f"thing:{number}"])
        assert claim(store, "thing:1").mine == ("thing:1",)

    def test_claim__is_void_after_the_fence_was_evicted(self, store: Store, redis_client: Redis) -> None:
        claim(store, "thing:1")
        redis_client.delete(store.fence_key)  # type: ignore[attr-defined]
        assert claim(store, "thing:1").mine == ("thing:1",)

    def test_claim__and_absence_stand_beside_their_key(self, absences: Store, redis_client: Redis) -> None:
        absences.token()
        made = claim(absences, "thing:1", "thing:2")
        absences.write(made.token, {}, ["thing:1"])
        names = {name.decode() for name in redis_client.scan_iter()}
        assert names == {
            ":warmer-fence:things",
            "{:1:thing:1}:absent",
            "{:1:thing:1}:claim",
            "{:1:thing:2}:claim",
        }
        assert 0 < redis_client.pttl("{:1:thing:1}:absent") <= 30_000

    def test_absence__costs_no_round_trip(self, absences: Store, redis_client: Redis) -> None:
        absences.write(absences.token(), {}, ["thing:1"])
        redis_client.config_resetstat()
        absences.lookup(["thing:1", "thing:2"])
        calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
        assert calls == {"cmdstat_mget": 1, "cmdstat_config|resetstat": 1}

    def test_absence__is_swept_with_the_job(self, redis_client: Redis) -> None:
        template = KeyTemplate.parse("we[i]rd*:{id}:x", keyed=True)
        options: dict[str, Any] = {"alias": "default", "timeout": 60.0, "absent_timeout": 60.0}
        store = open_store(fence="weird", template=template, **options)
        other = open_store(fence="other", template=KeyTemplate.parse("weird:{id}:x", keyed=True), **options)
        ids = range(1_500)
        store.write(store.token(), {"we[i]rd*:v:x": 1}, [f"we[i]rd*:{id}:x" for id in ids])
        other.write(other.token(), {}, ["weird:1:x"])
        store.invalidate_all()
        assert {name.decode() for name in redis_client.scan_iter()} == {
            ":warmer-fence:other",
            "{:1:weird:1:x}:absent",
        }
