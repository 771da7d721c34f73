"""The claim of who loads: how it ends, how long others wait for it, and what an invalidation makes of it."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.waiting import wait_until
from tests.package.filling.single_flight.support import Flight
from tests.support.readers import PATIENCE_SECONDS, Readers, kept
from warmer.stores.redis import scripts
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


def test_bound__then_the_reader_loads_and_stores_nothing(
    flight: Flight, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_invalidation__reader_who_comes_after_it_does_not_wait_for_the_load_before(flight: Flight) -> None:
    with flight.loading() as first:
        flight.loader.rows[1] = "new"
        flight.job.invalidate([1])
        assert flight.job.get(1) == cache.get("cold:1") == "new"
        assert not first.done()
    assert first.result() == "value 1"  # what was true when it read
    assert cache.get("cold:1") == "new"
    assert flight.loader.calls == [[1], [1]]


def test_invalidation__those_who_waited_already_load_once_again(flight: Flight) -> None:
    with flight.loading() as first:
        waiting = flight.readers(20)
        flight.loader.rows[1] = "new"
        flight.job.invalidate([1])
    assert first.result() == "value 1"
    assert [each.result() for each in waiting] == ["new"] * 20
    assert flight.loader.calls == [[1], [1]]
    assert cache.get("cold:1") == "new"
