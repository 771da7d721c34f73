"""The claim of who loads: how it ends, how long others wait for it, and what failures leave of it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.package.filling.single_flight.conftest import Flight
from tests.support.readers import PATIENCE_SECONDS, Readers, kept
from warmer import StoreUnavailable
from warmer.stores import Claim
from warmer.stores.redis import scripts
from warmer.stores.redis.store import RedisStore
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_cold_key__reader_that_is_killed_while_it_loads(flight: Flight, redis_client: Redis, settings: Any) -> None:
    claim = "{:1:cold:1}:claim"
    with Readers(processes=1, threads=1, sticks=True) as killed:
        killed.go()
        wait_until(lambda: redis_client.get("loads") == b"1", seconds=PATIENCE_SECONDS, what="the process is loading")
        assert 0 < redis_client.pttl(claim) <= PATIENCE_SECONDS * 1000
        waiting = flight.readers(10)
    redis_client.pexpire(claim, 1)  # its time is over
    assert [each.result() for each in waiting] == ["value 1"] * 10
    assert flight.loader.calls == [[1]]


def test_bound__then_a_reader_loads_for_itself(flight: Flight, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_READ_WAIT = timedelta(milliseconds=30)
    with flight.loading(at="token_taken") as first:
        assert flight.job.get_many([1, 2]) == {1: "value 1", 2: "value 2"}
        assert cache.get_many(["cold:1", "cold:2"]) == {"cold:2": "value 2"}
        assert "1 keys are still being loaded elsewhere after 0:00:00.030000" in caplog.text
    assert first.result() == "value 1"
    assert cache.get("cold:1") == "value 1"
    assert sorted(flight.loader.calls) == [[1], [1], [2]]


def test_bound__of_nothing_waits_for_nobody(flight: Flight, settings: Any) -> None:
    settings.WARMER_READ_WAIT = settings.WARMER_READ_CLAIM = timedelta(0)
    with flight.loading(at="token_taken") as first:
        assert flight.job.get(1) == "value 1"
    assert first.result() == "value 1"


def test_claim__that_is_lost_costs_a_second_load_and_nothing_else(flight: Flight, redis_client: Redis) -> None:
    with flight.loading() as first:
        redis_client.delete("{:1:cold:1}:claim")
        assert flight.job.get(1) == "value 1"
    assert first.result() == "value 1"
    assert flight.loader.calls == [[1], [1]]
    assert kept(redis_client) == {":1:cold:1"}


def test_claim__of_another_is_not_ended(flight: Flight, redis_client: Redis) -> None:
    with flight.loading() as first:
        flight.job.invalidate([1])
        later = flight.job.spec.store.claim(["cold:1"], seconds=20.0)
        assert later.mine == ("cold:1",)
    assert first.result() == "value 1"
    assert kept(redis_client) == {"{:1:cold:1}:claim"}


def test_claim__whose_answer_was_lost_is_the_readers_own(
    flight: Flight, settings: Any, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends the call again, and finds the claim that its first try made."""
    settings.WARMER_READ_WAIT = timedelta(seconds=1)
    flight.job.get(2)  # the server knows the script from now on
    records: list[Any] = []
    send = scripts.send

    def lose_the_first(connection: Any, commands: Any) -> None:
        send(connection, commands)
        if scripts.CLAIM.sha in commands[0] and not records:
            connection.read_response()
            records.append(redis_client.get("{:1:cold:1}:claim"))
            raise RedisConnectionError("Connection closed by server.")

    monkeypatch.setattr(scripts, "send", lose_the_first)
    with at("token_taken", lambda: records.append(redis_client.get("{:1:cold:1}:claim")), job="cold"):
        assert flight.job.get(1) == "value 1"
    made, kept_until_the_load = records
    assert made == kept_until_the_load
    assert flight.loader.calls == [[2], [1]]
    assert kept(redis_client) == {":1:cold:1", ":1:cold:2"}


def test_invalidation__nobody_waits_for_the_load_before(flight: Flight) -> None:
    with flight.loading() as first:
        waiting = flight.readers(20)
        flight.loader.rows[1] = "new"
        flight.job.invalidate([1])
        assert flight.job.get(1) == cache.get("cold:1") == "new"
        assert [each.result() for each in waiting] == ["new"] * 20
        assert not first.done()
    assert first.result() == "value 1"  # what was true when it read
    assert cache.get("cold:1") == "new"
    assert flight.loader.calls == [[1], [1]]


# -- a loader that raises, and a cache that goes away ----------------------------------------------------
def test_loader_that_raises__for_200_readers_brings_no_herd(flight: Flight, redis_client: Redis) -> None:
    with Readers(processes=4, threads=50, readers=200, fails=True) as readers:
        redis_client.config_resetstat()
        readers.go()
        assert readers.result(0) == ["ValueError: broken"] * 200
    # No value ever came, so each reader ran the loader itself, once; but one after the other.
    assert redis_client.get("loads") == b"200"
    assert set(redis_client.lrange("at_once", 0, -1)) == {b"1"}  # type: ignore[arg-type]


def test_get_many__takes_over_what_a_failed_load_left(flight: Flight) -> None:
    flight.loader.errors = [ValueError("broken")]
    with flight.loading(1, 2, 3, 4, at="token_taken") as first:
        second = flight.start(flight.job.get_many, [3, 4])
        flight.missed(2)
    with pytest.raises(ValueError, match="broken"):
        first.result()
    assert second.result() == {3: "value 3", 4: "value 4"}
    assert flight.loader.calls == [[1, 2, 3, 4], [3, 4]]


def test_loader_that_raises__once_is_an_error_for_one_reader(flight: Flight, redis_client: Redis) -> None:
    flight.loader.errors = [ValueError("broken")]
    with flight.loading(at="token_taken") as first:
        waiting = flight.readers(50)
    with pytest.raises(ValueError, match="broken"):
        first.result()
    assert [each.result() for each in waiting] == ["value 1"] * 50
    assert flight.loader.calls == [[1], [1]]
    assert kept(redis_client) == {":1:cold:1"}


def test_loader_that_raises__past_the_bound_everyone_gets_an_error_of_his_own(flight: Flight, settings: Any) -> None:
    settings.WARMER_READ_WAIT = timedelta(milliseconds=50)
    flight.loader.errors = [ValueError("broken") for _ in range(20)]
    with flight.loading(at="token_taken") as first:
        readers = [first, *(flight.start(flight.job.get, 1) for _ in range(19))]
        wait_until(lambda: sum(r.done() for r in readers) == 19, seconds=PATIENCE_SECONDS, what="19 are back")
    assert [str(each.exception()) for each in readers] == ["broken"] * 20
    assert len(flight.loader.calls) == 20


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_loader_that_is_interrupted__leaves_no_claim(flight: Flight, error: BaseException, redis_client: Redis) -> None:
    flight.loader.errors = [error]
    with pytest.raises(type(error)):
        flight.job.get(1)
    assert kept(redis_client) == set()
    assert flight.job.get(1) == "value 1"


def test_loader_that_raises__what_a_cache_raises_is_not_taken_for_our_own(flight: Flight) -> None:
    flight.loader.errors = [StoreUnavailable("the loader's own cache is down")]
    with pytest.raises(StoreUnavailable, match="own cache"):
        flight.job.get(1)
    assert flight.loader.calls == [[1]]


def test_cache_down__while_a_reader_waits(flight: Flight, redis_server: RedisServer) -> None:
    with flight.loading() as first:
        (second,) = flight.readers(1)
        redis_server.stop()
        assert second.result() == "value 1"
    assert first.result() == "value 1"
    assert flight.loader.calls == [[1], [1]]


def test_cache_down__between_the_look_and_the_claim_loads_only_what_is_missing(
    flight: Flight, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("cold:2", "cached")
    claim = RedisStore.claim

    def stop_and_claim(self: RedisStore, keys: Sequence[str], *, seconds: float) -> Claim:
        redis_server.stop()
        return claim(self, keys, seconds=seconds)

    monkeypatch.setattr(RedisStore, "claim", stop_and_claim)
    assert flight.job.get_many([1, 2, 3]) == {1: "value 1", 2: "cached", 3: "value 3"}
    assert flight.loader.calls == [[1, 3]]


def test_cache_down__in_the_first_of_several_batches_loads_each_once(flight: Flight, redis_server: RedisServer) -> None:
    with at("loaded", redis_server.stop, job="cold"):
        assert flight.job.get_many(range(1, 10)) == flight.loader.rows
    assert flight.loader.calls == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_cache_down__while_the_loader_raises_is_the_loaders_error(flight: Flight, redis_server: RedisServer) -> None:
    flight.loader.errors = [ValueError("broken")]
    with at("token_taken", redis_server.stop, job="cold"), pytest.raises(ValueError, match="broken"):
        flight.job.get(1)
    assert flight.loader.calls == [[1]]
