"""Readers of a cold key share one load, and all get its value, or learn that there is none."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.core.cache import cache
from django.test import override_settings
from redis import Redis

from embedded.waiting import wait_until
from tests.package.filling.single_flight.conftest import Flight
from tests.package.filling.support import LOCMEM, calls_of
from tests.support.readers import PATIENCE_SECONDS, Readers, at_once, claims_and_writes, kept
from warmer import warm_many
from warmer.filling import read_through
from warmer.filling.shared_loads import _Load
from warmer.stores import Cached, Claim
from warmer.stores.generic import GenericStore
from warmer.stores.redis.store import RedisStore
from warmer.testing import hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_cold_key__200_readers_in_threads_and_processes_are_one_load(flight: Flight, redis_client: Redis) -> None:
    with Readers(processes=4, threads=50, readers=200) as readers:
        redis_client.config_resetstat()
        readers.go()
        assert readers.result(0) == ["value 1"] * 200
    assert redis_client.get("loads") == b"1"
    assert claims_and_writes(redis_client) == 201
    assert cache.get("cold:1") == "value 1"


@pytest.mark.parametrize("damaged", [False, True])
def test_readers__who_come_while_one_loads_get_its_value(flight: Flight, redis_client: Redis, damaged: bool) -> None:
    if damaged:
        redis_client.set(":1:cold:1", b"\x80\x04not a value")
    with flight.loading() as first:
        waiting = flight.readers(20)
        assert not any(each.done() for each in waiting)
    assert [each.result() for each in (first, *waiting)] == ["value 1"] * 21
    assert flight.loader.calls == [[1]]


def test_get_many__loads_what_is_free_and_waits_for_the_rest(flight: Flight) -> None:
    cache.set("cold:4", "cached")
    with flight.loading(1, 2, at="token_taken") as first:
        second = flight.start(flight.job.get_many, [1, 2, 3, 4, 404])
        flight.missed(3)  # its claim and its write
        wait_until(lambda: cache.get("cold:3") is not None, seconds=PATIENCE_SECONDS, what="it has loaded")
        assert not second.done()
    assert first.result() == {1: "value 1", 2: "value 2"}
    assert second.result() == {1: "value 1", 2: "value 2", 3: "value 3", 4: "cached"}
    assert sorted(flight.loader.calls) == [[1, 2], [3, 404]]


def test_get_many__that_overlap_do_not_wait_for_each_other(flight: Flight) -> None:
    ids = list(range(1, 10))
    found = at_once([lambda: flight.job.get_many(ids), lambda: flight.job.get_many(ids[::-1])] * 5)
    assert found == [{id: f"value {id}" for id in ids}] * 10
    assert sorted(id for call in flight.loader.calls for id in call) == ids


def test_loader__that_reads_keys_of_its_own_job_does_not_wait_for_itself(redis_client: Redis) -> None:
    """A tree: each node holds its parent."""
    calls = []

    def load(ids: Sequence[int]) -> Mapping[int, Any]:
        calls.append(list(ids))
        return {id: [id, tree.get(id - 1)] if id > 1 else [id] for id in ids}

    tree: Any = warm_many("node:{id}", ids=list, name="tree")(load)
    waits = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_through, "sleep", waits.append)
        assert tree.get_many([1, 2, 3]) == {1: [1], 2: [2, [1]], 3: [3, [2, [1]]]}
    assert waits == []
    assert kept(redis_client) == {":1:node:1", ":1:node:2", ":1:node:3"}


def test_loader__that_reads_its_own_key_does_not_wait_for_itself_while_the_cache_is_down(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []

    def load(ids: list[int]) -> Mapping[int, Any]:
        calls.append(ids)
        return {1: "value"} if len(calls) > 2 else {1: job.get(1)}

    job: Any = warm_many("again:{id}", ids=list, name="again")(load)
    waits: list[_Load] = []
    monkeypatch.setattr(_Load, "wait", lambda load: waits.append(load))
    job.spec.store.breaker.failed(OSError("away"))
    assert (job.get(1), calls, waits) == ("value", [[1]] * 3, [])


def test_loader__that_reads_another_job_is_one_load_of_that_too(flight: Flight) -> None:
    outer: Any = warm_many("outer:{id}", ids=list, name="outer")(lambda ids: {id: flight.job.get(1) for id in ids})
    with hold("loaded", job="cold") as point:
        readers = [flight.start(outer.get, id) for id in range(10)]
        point.wait()
        flight.missed(20)
    assert [each.result() for each in readers] == ["value 1"] * 10
    assert flight.loader.calls == [[1]]


def test_miss__is_three_round_trips(flight: Flight, redis_client: Redis) -> None:
    flight.job.get_many([1, 2, 404])
    calls = calls_of(redis_client)
    # What arrives is the look (the scripts' own are counted with it: one a claimed key), the claim and
    # the write.
    assert calls["cmdstat_evalsha"] == 2
    assert calls["cmdstat_mget"] == 1 + 3
    assert claims_and_writes(redis_client) == 2


def test_wait__looks_at_all_keys_together(flight: Flight, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[list[str]] = []
    look = RedisStore.lookup

    def counted(self: RedisStore, keys: Sequence[str], *, claims: bool = False) -> Cached:
        if claims:
            looks.append(list(keys))
        return look(self, keys, claims=claims)

    monkeypatch.setattr(RedisStore, "lookup", counted)
    with flight.loading(1, 2, 3) as first:
        second = flight.start(flight.job.get_many, [1, 2, 3])
        wait_until(lambda: len(looks) >= 3, seconds=PATIENCE_SECONDS, what="it has looked three times")
    assert first.result() == second.result()
    assert all(keys == ["cold:1", "cold:2", "cold:3"] for keys in looks)


def test_other_cache__50_readers_in_threads_are_one_load(flight: Flight, monkeypatch: pytest.MonkeyPatch) -> None:
    missed = threading.Semaphore(0)
    claim = GenericStore.claim

    def counted(self: GenericStore, keys: Sequence[str], *, seconds: float) -> Claim:
        made = claim(self, keys, seconds=seconds)
        missed.release()
        return made

    monkeypatch.setattr(GenericStore, "claim", counted)
    with override_settings(CACHES=LOCMEM):
        with hold("loaded", job="cold"):
            readers = [flight.start(flight.job.get_many, [1, 404]) for _ in range(50)]
            assert all(missed.acquire(timeout=PATIENCE_SECONDS) for _ in readers)
        assert [each.result() for each in readers] == [{1: "value 1"}] * 50
        cache.clear()
    assert flight.loader.calls == [[1, 404]]


def test_absent_key__is_one_load_for_all_who_waited_and_one_later(flight: Flight, redis_client: Redis) -> None:
    with hold("loaded", job="cold") as point:
        readers = [flight.start(flight.job.get, 404, "none") for _ in range(51)]
        point.wait()
        flight.missed(51)
    assert [each.result() for each in readers] == ["none"] * 51
    assert flight.loader.calls == [[404]]
    assert flight.job.get(404, "none") == "none"
    assert flight.loader.calls == [[404], [404]]
    assert cache.get("cold:404") is None


def test_absent_key__who_waited_is_answered_during_the_next_load(
    flight: Flight, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep, wake = threading.Event(), threading.Event()

    def sleep(_seconds: float) -> None:
        asleep.set()
        assert wake.wait(PATIENCE_SECONDS)

    with flight.loading(404) as first:
        monkeypatch.setattr(read_through, "sleep", sleep)
        waiting = flight.start(flight.job.get, 404)
        assert asleep.wait(PATIENCE_SECONDS)
    assert first.result() is None
    with flight.loading(404) as later:
        wake.set()
        assert waiting.result(PATIENCE_SECONDS) is None
        assert not later.done()
    assert later.result() is None
    assert flight.loader.calls == [[404], [404]]


def test_absent_key__created_while_it_was_loaded_is_not_called_absent(flight: Flight) -> None:
    with flight.loading(404) as first:
        waiting = flight.readers(5, id=404)
        flight.loader.rows[404] = "created"
        flight.job.invalidate([404])
    assert first.result() is None
    assert [each.result() for each in waiting] == ["created"] * 5
    assert flight.loader.calls == [[404], [404]]
