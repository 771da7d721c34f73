"""Who comes after an invalidation does not wait for a load that began before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from tests.integration.single_flight.loading import Loader, Start
from warmer.testing import hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


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
