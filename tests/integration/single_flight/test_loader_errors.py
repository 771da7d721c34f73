"""A loader that raises: an error for the reader whose call it was, and no herd."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from embedded.waiting import wait_until
from tests.integration.readers import KEY, PATIENCE_SECONDS, Readers, at_once, counting_loader
from tests.integration.single_flight.loading import Loader, Start, kept
from warmer import StoreUnavailable, warm_many
from warmer.testing import hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


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
