"""A cold key has one loader call a fence, whoever comes; nobody hangs, and nobody waits for an old value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import override_settings
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.integration.readers import (
    KEY,
    PATIENCE_SECONDS,
    Readers,
    at_once,
    claims_and_writes,
    counting_loader,
)
from warmer import StoreUnavailable, flight, warm, warm_many
from warmer.stores import Cached, Claim
from warmer.stores.generic import GenericStore
from warmer.stores.redis import RedisStore
from warmer.testing import at, hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs", "_patient")]

Start = Callable[..., Future[Any]]


@pytest.fixture
def _patient(settings: Any) -> None:
    # So that a test in which a reader waits in vain fails for that, and not for a slow machine.
    settings.WARMER_READ_WAIT = settings.WARMER_READ_CLAIM = timedelta(seconds=20)


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a call in a thread."""
    with ThreadPoolExecutor(60) as pool:
        yield pool.submit


@pytest.fixture
def missed(redis_client: Redis) -> Callable[[int], None]:
    """Return a function that waits until so many readers have missed: each has asked for a claim."""
    cold: Any = warm_many("other:{id}", ids=list, name="other")(lambda ids: {})
    cold.get(1)  # the server knows the scripts from now on
    redis_client.flushdb()
    redis_client.config_resetstat()

    def wait(readers: int) -> None:
        wait_until(
            lambda: claims_and_writes(redis_client) >= readers,
            seconds=PATIENCE_SECONDS,
            what=f"{readers} readers have missed",
        )

    return wait


class Loader:
    """A loader that reads rows from a dictionary and keeps its calls."""

    def __init__(self, rows: Mapping[Any, Any] | None = None) -> None:
        self.rows = dict(rows if rows is not None else {id: f"value {id}" for id in range(1, 10)})
        self.calls: list[list[Any]] = []
        self.errors: list[BaseException] = []

    def __call__(self, ids: Sequence[Any]) -> Mapping[Any, Any]:
        self.calls.append(list(ids))
        found = {id: self.rows[id] for id in ids if id in self.rows}
        if self.errors:
            raise self.errors.pop(0)
        return found


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def job(loader: Loader) -> Any:
    return warm_many(KEY, ids=list, name="cold", batch_size=4)(loader)


def kept(redis_client: Redis) -> set[str]:
    """Return what is in the cache, but for the fences."""
    names = {name.decode() for name in redis_client.scan_iter()}
    return {name for name in names if ":warmer-fence:" not in name}


def test_cold_key__200_readers_in_threads_and_processes_are_one_load(
    missed: Callable[[int], None], redis_client: Redis
) -> None:
    with Readers(processes=4, threads=50, readers=200) as readers:
        redis_client.config_resetstat()
        readers.go()
        assert readers.results() == ["value 1"] * 200
    assert redis_client.get("loads") == b"1"
    assert claims_and_writes(redis_client) == 201
    assert cache.get("cold:1") == "value 1"


def test_cold_key__loader_that_raises_for_200_readers_hangs_none_and_brings_no_herd(
    missed: Callable[[int], None], redis_client: Redis
) -> None:
    with Readers(processes=4, threads=50, readers=200, fails=True) as readers:
        redis_client.config_resetstat()
        readers.go()
        assert readers.results() == ["ValueError: broken"] * 200
    # No value ever came, so each reader ran the loader itself, once; but one after the other.
    assert redis_client.get("loads") == b"200"
    assert set(redis_client.lrange("at_once", 0, -1)) == {b"1"}  # type: ignore[arg-type]


def test_cold_key__reader_that_is_killed_while_it_loads(
    missed: Callable[[int], None], redis_client: Redis, settings: Any, start: Start, loader: Loader, job: Any
) -> None:
    claim = "{:1:cold:1}:claim"
    with Readers(processes=1, threads=1, sticks=True) as killed:
        killed.go()
        wait_until(
            lambda: redis_client.get("loads") == b"1", seconds=PATIENCE_SECONDS, what="the process is loading"
        )
        assert 0 < redis_client.pttl(claim) <= PATIENCE_SECONDS * 1000
        waiting = [start(job.get, 1) for _ in range(10)]
        missed(11)
    redis_client.pexpire(claim, 1)  # its time is over
    assert [each.result() for each in waiting] == ["value 1"] * 10
    assert loader.calls == [[1]]


def test_claim__ends_by_itself(settings: Any, redis_client: Redis, loader: Loader, job: Any) -> None:
    settings.WARMER_READ_CLAIM = timedelta(seconds=1)
    job.spec.store.claim(["cold:1"], seconds=1.0)
    assert 0 < redis_client.pttl("{:1:cold:1}:claim") <= 1000
    assert job.get(1) == "value 1"  # by then the claim of one who never came back is over
    assert cache.get("cold:1") == "value 1"


def test_readers__that_come_while_one_loads_get_what_it_stored(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        waiting = [start(job.get, 1) for _ in range(20)]
        missed(21)
        assert not any(each.done() for each in waiting)
    assert [each.result() for each in (first, *waiting)] == ["value 1"] * 21
    assert loader.calls == [[1]]


def test_readers__of_a_job_with_one_key(missed: Callable[[int], None], start: Start) -> None:
    calls = []
    single: Any = warm("one-cold", name="one_cold")(lambda: calls.append(1) or "value")  # type: ignore[func-returns-value]
    with hold("token_taken", job="one_cold") as point:
        readers = [start(single.get) for _ in range(10)]
        point.wait()
        missed(10)
    assert [each.result() for each in readers] == ["value"] * 10
    assert calls == [1]


def test_readers__of_the_value_of_another_serializer_are_one_load(
    missed: Callable[[int], None], redis_client: Redis, start: Start, loader: Loader, job: Any
) -> None:
    redis_client.set(str(cache.make_key("cold:1")), b"\x80\x04not a value")
    with hold("loaded", job="cold") as point:
        readers = [start(job.get, 1) for _ in range(10)]
        point.wait()
        missed(20)  # whose claim finds such a value makes it in a second step
    assert [each.result() for each in readers] == ["value 1"] * 10
    assert loader.calls == [[1]]


def test_get_many__loads_what_is_free_and_waits_for_the_rest(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    cache.set("cold:4", "cached")
    with hold("token_taken", job="cold") as point:
        first = start(job.get_many, [1, 2])
        point.wait()
        second = start(job.get_many, [1, 2, 3, 4, 404])
        missed(3)  # its claim and its write
        wait_until(lambda: cache.get("cold:3") is not None, seconds=PATIENCE_SECONDS, what="it has loaded")
        assert not second.done()
    assert first.result() == {1: "value 1", 2: "value 2"}
    assert second.result() == {1: "value 1", 2: "value 2", 3: "value 3", 4: "cached"}
    assert sorted(loader.calls) == [[1, 2], [3, 404]]


def test_get_many__that_overlap_do_not_wait_for_each_other(job: Any, loader: Loader) -> None:
    ids = list(range(1, 10))
    found = at_once([lambda: job.get_many(ids), lambda: job.get_many(ids[::-1])] * 5)
    assert found == [{id: f"value {id}" for id in ids}] * 10
    assert sorted(id for call in loader.calls for id in call) == ids


def test_get_many__takes_over_what_a_failed_load_left(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    loader.errors = [ValueError("broken")]
    with hold("token_taken", job="cold") as point:
        first = start(job.get_many, [1, 2, 3, 4])
        point.wait()
        second = start(job.get_many, [3, 4])
        missed(2)
    with pytest.raises(ValueError, match="broken"):
        first.result()
    assert second.result() == {3: "value 3", 4: "value 4"}
    assert loader.calls == [[1, 2, 3, 4], [3, 4]]


def test_invalidation__reader_who_comes_after_it_does_not_wait_for_the_load_before(
    start: Start, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        loader.rows[1] = "new"
        job.invalidate([1])
        assert job.get(1) == cache.get("cold:1") == "new"
        assert not first.done()
    assert first.result() == "value 1"  # what was true when it read
    assert cache.get("cold:1") == "new"
    assert loader.calls == [[1], [1]]


@pytest.mark.parametrize("change", ["whole job", "evicted fence", "trimmed records"])
def test_invalidation__of_whatever_kind_voids_the_claims(
    change: str, settings: Any, redis_client: Redis, start: Start, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        if change == "whole job":
            job.invalidate()
        elif change == "evicted fence":
            redis_client.delete(job.spec.store.fence_key)
        else:
            settings.WARMER_FENCE_RECORDS = 2
            for id in range(100, 110):
                job.invalidate([id])
        assert job.get(1) == cache.get("cold:1") == "value 1"
        assert not first.done()
    assert first.result() == "value 1"
    assert loader.calls == [[1], [1]]


def test_invalidation__of_another_key_voids_nothing(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        job.invalidate([2])
        second = start(job.get, 1)
        missed(3)
    assert first.result() == second.result() == "value 1"
    assert loader.calls == [[1]]


def test_invalidation__those_who_waited_already_load_once_again(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        waiting = [start(job.get, 1) for _ in range(20)]
        missed(21)
        loader.rows[1] = "new"
        job.invalidate([1])
    assert first.result() == "value 1"
    assert [each.result() for each in waiting] == ["new"] * 20
    assert loader.calls == [[1], [1]]
    assert cache.get("cold:1") == "new"


def test_loader_that_raises__once_is_an_error_for_one_reader(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any, redis_client: Redis
) -> None:
    loader.errors = [ValueError("broken")]
    with hold("token_taken", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        waiting = [start(job.get, 1) for _ in range(50)]
        missed(51)
    with pytest.raises(ValueError, match="broken"):
        first.result()
    assert [each.result() for each in waiting] == ["value 1"] * 50
    assert loader.calls == [[1], [1]]
    assert kept(redis_client) == {":1:cold:1"}


def test_loader_that_raises__always_with_50_waiting_is_one_call_a_reader(
    missed: Callable[[int], None], redis_client: Redis
) -> None:
    failing: Any = warm_many(KEY, ids=list, name="cold")(
        counting_loader(redis_client, readers=51, fails=True)
    )
    assert at_once([lambda: failing.get(1)] * 51) == ["ValueError: broken"] * 51
    assert redis_client.get("loads") == b"51"
    assert set(redis_client.lrange("at_once", 0, -1)) == {b"1"}  # type: ignore[arg-type]


def test_loader_that_raises__past_the_bound_everyone_gets_an_error_of_his_own(
    missed: Callable[[int], None], settings: Any, start: Start, loader: Loader, job: Any
) -> None:
    settings.WARMER_READ_WAIT = timedelta(milliseconds=50)
    loader.errors = [ValueError("broken") for _ in range(20)]
    with hold("token_taken", job="cold") as point:
        readers = [start(job.get, 1) for _ in range(20)]
        point.wait()
        wait_until(lambda: sum(r.done() for r in readers) == 19, seconds=PATIENCE_SECONDS, what="19 are back")
    assert [str(each.exception()) for each in readers] == ["broken"] * 20
    assert len(loader.calls) == 20


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_loader_that_is_interrupted__leaves_no_claim(
    error: BaseException, loader: Loader, job: Any, redis_client: Redis
) -> None:
    loader.errors = [error]
    with pytest.raises(type(error)):
        job.get(1)
    assert kept(redis_client) == set()
    assert job.get(1) == "value 1"


def test_loader_that_raises__what_a_cache_raises_is_not_taken_for_our_own(loader: Loader, job: Any) -> None:
    loader.errors = [StoreUnavailable("the loader's own cache is down")]
    with pytest.raises(StoreUnavailable, match="own cache"):
        job.get(1)
    assert loader.calls == [[1]]


def test_absent_key__is_one_load_for_those_who_waited_and_one_for_who_comes_later(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any, redis_client: Redis
) -> None:
    with hold("loaded", job="cold") as point:
        readers = [start(job.get, 404, "none") for _ in range(51)]
        point.wait()
        missed(51)
    assert [each.result() for each in readers] == ["none"] * 51
    assert loader.calls == [[404]]
    assert job.get(404, "none") == "none"
    assert loader.calls == [[404], [404]]
    assert cache.get("cold:404") is None


def test_absent_key__who_waited_is_answered_though_the_next_load_has_begun(
    missed: Callable[[int], None],
    start: Start,
    loader: Loader,
    job: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asleep, wake = threading.Event(), threading.Event()

    def sleep(_seconds: float) -> None:
        asleep.set()
        assert wake.wait(PATIENCE_SECONDS)

    with hold("loaded", job="cold") as point:
        first = start(job.get, 404)
        point.wait()
        monkeypatch.setattr(flight, "sleep", sleep)
        waiting = start(job.get, 404)
        assert asleep.wait(PATIENCE_SECONDS)
    assert first.result() is None
    with hold("loaded", job="cold") as point:
        later = start(job.get, 404)
        point.wait()
        wake.set()
        assert waiting.result(PATIENCE_SECONDS) is None
        assert not later.done()
    assert later.result() is None
    assert loader.calls == [[404], [404]]


def test_absent_key__created_while_it_was_loaded_is_not_called_absent(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 404)
        point.wait()
        waiting = [start(job.get, 404) for _ in range(5)]
        missed(6)
        loader.rows[404] = "created"
        job.invalidate([404])
    assert first.result() is None
    assert [each.result() for each in waiting] == ["created"] * 5
    assert loader.calls == [[404], [404]]


def test_bound__then_the_reader_loads_and_stores_nothing(
    settings: Any, start: Start, loader: Loader, job: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_READ_WAIT = timedelta(milliseconds=30)
    with hold("token_taken", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        assert job.get_many([1, 2]) == {1: "value 1", 2: "value 2"}
        assert cache.get_many(["cold:1", "cold:2"]) == {"cold:2": "value 2"}
        assert "1 keys are still being loaded elsewhere after 0:00:00.030000" in caplog.text
    assert first.result() == "value 1"
    assert cache.get("cold:1") == "value 1"
    assert sorted(loader.calls) == [[1], [1], [2]]


def test_bound__of_nothing_waits_for_nobody(settings: Any, start: Start, loader: Loader, job: Any) -> None:
    settings.WARMER_READ_WAIT = settings.WARMER_READ_CLAIM = timedelta(0)
    with hold("token_taken", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        assert job.get(1) == "value 1"
    assert first.result() == "value 1"


def test_claim__that_is_lost_costs_a_second_load_and_nothing_else(
    start: Start, redis_client: Redis, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        redis_client.delete("{:1:cold:1}:claim")
        assert job.get(1) == "value 1"
    assert first.result() == "value 1"
    assert loader.calls == [[1], [1]]
    assert kept(redis_client) == {":1:cold:1"}


def test_claim__of_another_is_not_ended(start: Start, redis_client: Redis, loader: Loader, job: Any) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        job.invalidate([1])
        later = job.spec.store.claim(["cold:1"], seconds=20.0)
        assert later.mine == ("cold:1",)
    assert first.result() == "value 1"
    assert kept(redis_client) == {"{:1:cold:1}:claim"}


def test_claim__ends_also_when_the_value_cannot_be_stored(
    loader: Loader, job: Any, redis_client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    loader.rows[1] = value = object()
    assert job.get(1) is value
    assert "cannot be encoded" in caplog.text
    assert kept(redis_client) == set()


def test_loader__that_reads_keys_of_its_own_job_does_not_wait_for_itself(redis_client: Redis) -> None:
    """A tree: each node holds its parent."""
    calls = []

    def load(ids: Sequence[int]) -> Mapping[int, Any]:
        calls.append(list(ids))
        return {id: [id, tree.get(id - 1)] if id > 1 else [id] for id in ids}

    tree: Any = warm_many("node:{id}", ids=list, name="tree")(load)
    waits = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flight, "sleep", waits.append)
        assert tree.get_many([1, 2, 3]) == {1: [1], 2: [2, [1]], 3: [3, [2, [1]]]}
    assert waits == []
    assert kept(redis_client) == {":1:node:1", ":1:node:2", ":1:node:3"}


def test_loader__that_reads_another_job_is_one_load_of_that_too(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    outer: Any = warm_many("outer:{id}", ids=list, name="outer")(lambda ids: {id: job.get(1) for id in ids})
    with hold("loaded", job="cold") as point:
        readers = [start(outer.get, id) for id in range(10)]
        point.wait()
        missed(20)
    assert [each.result() for each in readers] == ["value 1"] * 10
    assert loader.calls == [[1]]


def test_miss__is_three_round_trips(missed: Callable[[int], None], job: Any, redis_client: Redis) -> None:
    job.get_many([1, 2, 404])
    calls = {name: stats["calls"] for name, stats in redis_client.info("commandstats").items()}
    # What arrives is the look (the scripts' own are counted with it: one a claimed key), the claim and
    # the write.
    assert calls["cmdstat_evalsha"] == 2
    assert calls["cmdstat_mget"] == 1 + 3
    assert claims_and_writes(redis_client) == 2


def test_fill__leaves_the_values_and_nothing_else(job: Any, redis_client: Redis) -> None:
    job.get_many([1, 2])
    assert kept(redis_client) == {":1:cold:1", ":1:cold:2"}


def test_waiting__looks_at_all_keys_together(
    missed: Callable[[int], None],
    start: Start,
    job: Any,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[list[str]] = []
    look = RedisStore.look

    def counted(self: RedisStore, keys: Sequence[str], *, claims: bool = False) -> Cached:
        if claims:
            looks.append(list(keys))
        return look(self, keys, claims=claims)

    monkeypatch.setattr(RedisStore, "look", counted)
    with hold("loaded", job="cold") as point:
        first = start(job.get_many, [1, 2, 3])
        point.wait()
        second = start(job.get_many, [1, 2, 3])
        wait_until(lambda: len(looks) >= 3, seconds=PATIENCE_SECONDS, what="it has looked three times")
    assert first.result() == second.result()
    assert all(keys == ["cold:1", "cold:2", "cold:3"] for keys in looks)


def test_cache_down__while_a_reader_waits(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any, redis_server: RedisServer
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 1)
        point.wait()
        second = start(job.get, 1)
        missed(2)
        redis_server.stop()
        assert second.result() == "value 1"
    assert first.result() == "value 1"
    assert loader.calls == [[1], [1]]


def test_cache_down__between_the_look_and_the_claim_loads_only_what_is_missing(
    loader: Loader, job: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("cold:2", "cached")
    claim = RedisStore.claim

    def stop_and_claim(self: RedisStore, keys: Sequence[str], *, seconds: float) -> Claim:
        redis_server.stop()
        return claim(self, keys, seconds=seconds)

    monkeypatch.setattr(RedisStore, "claim", stop_and_claim)
    assert job.get_many([1, 2, 3]) == {1: "value 1", 2: "cached", 3: "value 3"}
    assert loader.calls == [[1, 3]]


def test_cache_down__during_the_first_of_several_batches_loads_each_once(
    loader: Loader, job: Any, redis_server: RedisServer
) -> None:
    with at("loaded", redis_server.stop, job="cold"):
        assert job.get_many(range(1, 10)) == loader.rows
    assert loader.calls == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_cache_down__while_the_loader_raises_is_still_the_loaders_error(
    loader: Loader, job: Any, redis_server: RedisServer
) -> None:
    loader.errors = [ValueError("broken")]
    with at("token_taken", redis_server.stop, job="cold"), pytest.raises(ValueError, match="broken"):
        job.get(1)
    assert loader.calls == [[1]]


def test_other_cache__50_readers_in_threads_are_one_load(
    start: Start, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = threading.Semaphore(0)
    claim = GenericStore.claim

    def counted(self: GenericStore, keys: Sequence[str], *, seconds: float) -> Claim:
        made = claim(self, keys, seconds=seconds)
        missed.release()
        return made

    monkeypatch.setattr(GenericStore, "claim", counted)
    locmem = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "flight"}
    with override_settings(CACHES={"default": locmem}):
        job: Any = warm_many(KEY, ids=list, name="cold")(loader)
        with hold("loaded", job="cold"):
            readers = [start(job.get_many, [1, 404]) for _ in range(50)]
            assert all(missed.acquire(timeout=PATIENCE_SECONDS) for _ in readers)
        assert [each.result() for each in readers] == [{1: "value 1"}] * 50
        cache.clear()
    assert loader.calls == [[1, 404]]
