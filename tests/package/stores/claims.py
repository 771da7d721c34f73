"""What every store does about claims and absences: part of its contract."""

from typing import Any

import pytest
from django.core.cache import cache

from tests.support.stores import SUPERSEDED, THINGS, WRITTEN, claim, claims, invalidate_all, open_things
from warmer.report import Outcome
from warmer.stores import Claim, Store, Token


class ClaimContract:
    """A subclass has the fixtures `store` and `absences`, a store that caches absences too."""

    fenced_per_key = False

    def token_of(self, claim: Claim, key: str) -> Token:
        """Return the state of the fence of one key of a claim."""
        return claim.token

    def test_claim__is_for_one_and_seen_by_who_looks_for_it(self, store: Store) -> None:
        first = claim(store, "thing:1")
        assert first.token == store.token(["thing:1"])
        second = claim(store, "thing:1", "thing:2")
        assert (first.mine, dict(first.theirs)) == (("thing:1",), {})
        assert (second.mine, dict(second.theirs)) == (("thing:2",), {"thing:1": first.id})
        assert store.lookup(["thing:1"]).claims == {}
        seen = claims(store, "thing:1", "thing:3")
        assert {key: (record.holder, record.token) for key, record in seen.items()} == {
            "thing:1": (first.id, self.token_of(first, "thing:1"))
        }
        store.invalidate(["thing:9"])
        assert claim(store, "thing:3").token == store.token(["thing:3"])

    def test_claim__what_is_cached_by_now_is_told_instead(self, store: Store) -> None:
        cache.set("thing:1", {"a": 1})
        made = claim(store, "thing:1", "thing:2")
        assert (made.values, made.mine) == ({"thing:1": {"a": 1}}, ("thing:2",))
        assert set(claims(store, "thing:1", "thing:2")) == {"thing:2"}

    @pytest.mark.parametrize("end", ["written", "superseded", "failed", "released"])
    def test_claim__ends_with_its_write_or_release(self, store: Store, end: str) -> None:
        cache.set("thing:3", "untouched")
        made = claim(store, "thing:1", "thing:2")  # also of what it does not load
        if end == "superseded":
            store.invalidate(["thing:1"])
        if end == "released":
            store.write(made.token, {}, claim=made)
        else:
            value: Any = (lambda: None) if end == "failed" else 1
            written = store.write(made.token, {"thing:1": value}, claim=made)
            assert written.outcomes == {"thing:1": Outcome(end)}
        assert claims(store, "thing:1", "thing:2") == {}
        assert claim(store, "thing:2").mine == ("thing:2",)
        assert cache.get("thing:3") == "untouched"

    def test_claim__is_no_fence(self, store: Store) -> None:
        token = store.token(THINGS)
        claim(store, "thing:1")
        assert store.write(token, {"thing:1": 1}).outcomes == {"thing:1": WRITTEN}

    def test_claim__is_void_after_an_invalidation_of_its_key(self, store: Store) -> None:
        old = claim(store, "thing:1")
        record = claims(store, "thing:1")["thing:1"]
        assert store.overtaken(record.token, ["thing:1"]) == set()
        store.invalidate(["thing:1"])
        assert store.overtaken(record.token, ["thing:1"]) == {"thing:1"}
        new = claim(store, "thing:1")
        assert new.mine == ("thing:1",)
        store.write(old.token, {}, claim=old)  # which is not the end of the new one
        assert claims(store, "thing:1")["thing:1"].holder == new.id
        store.invalidate(["thing:2"])
        assert claim(store, "thing:1").theirs == ({"thing:1": new.id} if self.fenced_per_key else {})
        invalidate_all(store)
        assert claim(store, "thing:1").mine == ("thing:1",)

    def test_claim__absent_key_is_told_to_those_who_waited(self, store: Store) -> None:
        made = claim(store, "thing:1")
        store.write(made.token, {}, ["thing:1"], claim=made)
        assert claims(store, "thing:1")["thing:1"].tells_absence_to(made.id)
        # Who comes later loads; to those who waited the next claim still tells it, and to his own not.
        later = claim(store, "thing:1")
        assert (later.mine, dict(later.theirs)) == (("thing:1",), {})
        seen = claims(store, "thing:1")["thing:1"]
        assert seen.tells_absence_to(made.id)
        assert not seen.tells_absence_to(later.id)
        store.invalidate(["thing:1"])
        claim(store, "thing:1")
        assert not claims(store, "thing:1")["thing:1"].tells_absence_to(made.id)

    @pytest.mark.parametrize("end", ["released", "superseded"])
    def test_claim__that_found_no_absence_tells_none(self, store: Store, end: str) -> None:
        made = claim(store, "thing:1")
        if end == "released":
            store.write(made.token, {}, claim=made)
        else:
            store.invalidate(["thing:1"])
            store.write(made.token, {}, ["thing:1"], claim=made)
            assert claims(store, "thing:1") == {}
        claim(store, "thing:1")
        assert not claims(store, "thing:1")["thing:1"].tells_absence_to(made.id)

    def test_absence__is_cached_when_that_is_asked_for(self, store: Store, absences: Store) -> None:
        store.write(store.token(THINGS), {}, ["thing:1"])
        assert absences.lookup(["thing:1"]).absent == set()
        absences.write(absences.token(THINGS), {"thing:2": 2}, ["thing:1"])
        cached = absences.lookup(["thing:1", "thing:2", "thing:3"])
        assert (cached.values, cached.absent) == ({"thing:2": 2}, {"thing:1"})
        assert claim(absences, "thing:1", "thing:3").absent == {"thing:1"}
        assert store.lookup(["thing:1"]).absent == set()
        assert cache.get("thing:1") is None

    def test_absence__ends_with_a_value_or_an_invalidation(self, absences: Store) -> None:
        token = absences.token(THINGS)
        absences.write(token, {}, ["thing:1", "thing:2", "thing:3"])
        absences.write(token, {"thing:1": 1})
        cache.delete("thing:1")
        absences.invalidate(["thing:2"])
        assert absences.lookup(["thing:1", "thing:2", "thing:3"]).absent == {"thing:3"}
        # What was loaded before the invalidation is fenced.
        assert absences.write(token, {}, ["thing:2"]).outcomes == {"thing:2": SUPERSEDED}
        assert absences.lookup(["thing:2"]).absent == set()

    def test_absence__a_value_that_the_cache_got_elsewhere_is_stronger(self, absences: Store) -> None:
        absences.write(absences.token(THINGS), {}, ["thing:1"])
        cache.set("thing:1", 1)
        for found in (absences.lookup(["thing:1"]), claim(absences, "thing:1")):
            assert (found.values, found.absent) == ({"thing:1": 1}, set())

    def test_absence__of_a_single_job_ends_with_its_invalidation(self) -> None:
        store = open_things("only", absent_timeout=60.0)
        store.write(store.token(["only"]), {}, ["only"])
        assert store.lookup(["only"]).absent == {"only"}
        invalidate_all(store)
        assert store.lookup(["only"]).absent == set()
