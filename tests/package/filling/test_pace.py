"""The governor: batches follow each other at no more than a pace, on all workers together."""

import time
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from tests.package.filling import support
from tests.package.filling.support import LOCMEM, Calls, loader_of
from tests.support.stores import open_things
from warmer.filling import pipeline

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

declare = partial(support.declare, name="paced", ids=lambda: range(8), batch_size=2)


def rounded(pauses: Sequence[float]) -> list[float]:
    """Return pauses in tens of seconds; they were asked for within much less."""
    return [round(pause, -1) for pause in pauses]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long batches paused; nobody sleeps."""
    taken: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, perf_counter=time.perf_counter, sleep=taken.append)
    monkeypatch.setattr(pipeline, "time", clock)
    return taken


def test_turn__is_shared_by_all_who_use_the_cache_and_forgotten(redis_client: Redis) -> None:
    """Another process has stores of its own, and the same server."""
    one, other = open_things("one:{id}"), open_things("other:{id}")
    waits = [store.turn(per_second=0.1, name="*") for store in (one, other, one, other)]
    assert waits[0] == 0
    assert rounded(waits) == [0, 10, 20, 30]
    (name,) = redis_client.keys("*warmer-turn*")
    assert 0 < redis_client.pttl(name) <= 60_000
    assert one.turn(per_second=0.1, name="another") == 0


@pytest.mark.parametrize(
    ("seconds", "waits"),
    [
        # After a rest there is one turn at once, and not one for each interval of the rest.
        (-60, [0, 10]),
        (300, [310, 320]),
        # As if the server's clock had been set back: no queue of batches is so long.
        (3600, [0, 10]),
    ],
    ids=["missed", "long queue", "clock set back"],
)
def test_turn__after_a_shift(redis_client: Redis, seconds: int, waits: list[float]) -> None:
    store = declare().spec.store
    store.turn(per_second=0.1, name="paced")
    (name,) = redis_client.keys("*warmer-turn*")
    redis_client.incrby(name, seconds * 1_000_000)
    assert rounded([store.turn(per_second=0.1, name="paced") for _ in waits]) == waits


def test_turn__in_another_cache_is_taken_in_this_process(settings: Any) -> None:
    settings.CACHES = LOCMEM
    store = declare(name="local").spec.store
    assert rounded([store.turn(per_second=0.1, name="local only") for _ in range(2)]) == [0, 10]


def test_max_batches_per_second__each_load_of_a_narrowed_batch_takes_a_turn(pauses: list[float]) -> None:
    loads: Calls = []
    job = declare(loader_of(loads, bad=range(4)), ids=lambda: range(4), batch_size=4, max_batches_per_second=0.1)
    assert job.warm().failed == 4
    assert [*map(len, loads)] == [4, 2, 1, 1, 2, 1, 1]
    assert rounded(pauses) == [10, 20, 30, 40, 50, 60]


def test_max_batches_per_second__of_a_job_counts_what_is_loaded(pauses: list[float]) -> None:
    job = declare(max_batches_per_second=0.1)
    report = job.warm()
    assert report.written == 8
    assert rounded(pauses) == [10, 20, 30]
    assert rounded([report.wait_seconds]) == [60]
    pauses.clear()
    assert job.warm(only_missing=True).skipped == 8
    assert pauses == []


def test_max_batches_per_second__of_the_project_is_shared_by_jobs(pauses: list[float], settings: Any) -> None:
    settings.WARMER_MAX_BATCHES_PER_SECOND = 0.1
    for name in ("one", "two"):
        declare(name=name, ids=lambda: range(4)).warm()
    assert rounded(pauses) == [10, 20, 30]


def test_max_batches_per_second__off_asks_for_no_turn(redis_client: Redis) -> None:
    declare().warm()
    assert redis_client.keys("*warmer-turn*") == []
