"""A cache that goes away while a cold key is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.core.cache import cache

from embedded.redis_server import RedisServer
from tests.integration.single_flight.loading import Loader, Start
from warmer.stores import Claim
from warmer.stores.redis.store import RedisStore
from warmer.testing import at, hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


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
