"""A loader that raises, and a cache that goes away: an error for one reader, no herd, and nobody hangs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.support.readers import PATIENCE_SECONDS, Loader, Loading, Missed, Readers, Start, kept
from warmer import StoreUnavailable
from warmer.stores import Claim
from warmer.stores.redis.store import RedisStore
from warmer.testing import at, hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_cold_key__loader_that_raises_for_200_readers_hangs_none_and_brings_no_herd(
    missed: Missed, redis_client: Redis
) -> None:
    with Readers(processes=4, threads=50, readers=200, fails=True) as readers:
        redis_client.config_resetstat()
        readers.go()
        assert readers.results() == ["ValueError: broken"] * 200
    # No value ever came, so each reader ran the loader itself, once; but one after the other.
    assert redis_client.get("loads") == b"200"
    assert set(redis_client.lrange("at_once", 0, -1)) == {b"1"}  # type: ignore[arg-type]


def test_get_many__takes_over_what_a_failed_load_left(missed: Missed, start: Start, loader: Loader, job: Any) -> None:
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


def test_loader_that_raises__once_is_an_error_for_one_reader(
    missed: Missed, start: Start, loading: Loading, loader: Loader, job: Any, redis_client: Redis
) -> None:
    loader.errors = [ValueError("broken")]
    with loading(1, at="token_taken") as first:
        waiting = [start(job.get, 1) for _ in range(50)]
        missed(51)
    with pytest.raises(ValueError, match="broken"):
        first.result()
    assert [each.result() for each in waiting] == ["value 1"] * 50
    assert loader.calls == [[1], [1]]
    assert kept(redis_client) == {":1:cold:1"}


def test_loader_that_raises__past_the_bound_everyone_gets_an_error_of_his_own(
    missed: Missed, settings: Any, start: Start, loader: Loader, job: Any
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


def test_cache_down__while_a_reader_waits(
    missed: Missed, start: Start, loading: Loading, loader: Loader, job: Any, redis_server: RedisServer
) -> None:
    with loading(1) as first:
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
