"""The governor: batches follow each other at no more than a pace, on all workers together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from warmer import warm_many
from warmer.filling import pipeline
from warmer.keys import KeyTemplate
from warmer.stores import Store, open_store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "pace"}}


def declare(name: str = "paced", **options: Any) -> Any:
    def loader(ids: Sequence[int]) -> dict[int, int]:
        return {id: id for id in ids}

    options = {"ids": lambda: range(8), "batch_size": 2} | options
    return warm_many(f"{name}:{{id}}", name=name, **options)(loader)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long batches paused; nobody sleeps."""
    taken: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, perf_counter=time.perf_counter, sleep=taken.append)
    monkeypatch.setattr(pipeline, "time", clock)
    return taken


def test_warm__each_load_of_a_batch_that_is_narrowed_takes_a_turn(pauses: list[float]) -> None:
    loads: list[int] = []

    def loader(ids: Sequence[int]) -> dict[int, int]:
        loads.append(len(ids))
        raise ValueError("broken")

    job: Any = warm_many(
        "broken:{id}", ids=lambda: range(4), name="broken", batch_size=4, max_batches_per_second=0.1
    )(loader)
    assert job.warm().failed == 4
    assert loads == [4, 2, 1, 1, 2, 1, 1]
    assert [round(pause, -1) for pause in pauses] == [10, 20, 30, 40, 50, 60]


def test_turn__each_is_an_interval_after_the_one_before() -> None:
    store: Store = declare().spec.store
    waits = [store.turn(per_second=0.1, name="paced") for _ in range(4)]
    # They were asked for within much less than an interval of 10 s.
    assert waits[0] == 0
    assert [round(wait, -1) for wait in waits[1:]] == [10, 20, 30]


def test_turn__is_shared_by_all_who_use_the_cache() -> None:
    """Another process has stores of its own, and the same server."""
    options: dict[str, Any] = {"alias": "default", "timeout": 60.0}
    template = KeyTemplate.parse("paced:{id}", keyed=True)
    one = open_store(fence="one", template=template, **options)
    other = open_store(fence="other", template=template, **options)
    assert one.turn(per_second=0.1, name="*") == 0
    assert round(other.turn(per_second=0.1, name="*"), -1) == 10
    assert one.turn(per_second=0.1, name="another") == 0


def test_turn__that_was_missed_is_not_made_up_for(redis_client: Redis) -> None:
    """After a rest there is one turn at once, and not one for each interval of the rest."""
    store: Store = declare().spec.store
    store.turn(per_second=1000, name="paced")
    (name,) = redis_client.keys("*warmer-turn*")
    redis_client.decrby(name, 60_000_000)
    assert store.turn(per_second=0.1, name="paced") == 0
    assert round(store.turn(per_second=0.1, name="paced"), -1) == 10


def test_turn__begins_anew_after_the_servers_clock_was_set_back(redis_client: Redis) -> None:
    """What is stored is then as far ahead as the clock went back, and no queue of batches is so long."""
    store: Store = declare().spec.store
    assert store.turn(per_second=10, name="paced") == 0
    (name,) = redis_client.keys("*warmer-turn*")
    redis_client.incrby(name, 3600 * 1_000_000)
    assert store.turn(per_second=10, name="paced") == 0
    assert round(store.turn(per_second=10, name="paced"), 1) == 0.1


def test_turn__of_a_long_queue_is_kept(redis_client: Redis) -> None:
    store: Store = declare().spec.store
    store.turn(per_second=0.1, name="paced")
    (name,) = redis_client.keys("*warmer-turn*")
    redis_client.incrby(name, 300 * 1_000_000)
    assert round(store.turn(per_second=0.1, name="paced"), -1) == 310


def test_turn__is_forgotten_when_nobody_needs_it(redis_client: Redis) -> None:
    declare().spec.store.turn(per_second=1, name="paced")
    (name,) = redis_client.keys("*warmer-turn*")
    assert 0 < redis_client.pttl(name) <= 2_000


def test_turn__in_another_cache_is_taken_in_this_process(settings: Any) -> None:
    settings.CACHES = LOCMEM
    store: Store = declare("local").spec.store
    assert store.turn(per_second=0.1, name="local only") == 0
    assert round(store.turn(per_second=0.1, name="local only"), -1) == 10


def test_max_batches_per_second__of_a_job(pauses: list[float]) -> None:
    report = declare(max_batches_per_second=0.1).warm()
    assert report.written == 8
    assert [round(pause, -1) for pause in pauses] == [10, 20, 30]
    assert round(report.wait_seconds, -1) == 60


def test_max_batches_per_second__of_the_project_is_shared_by_jobs(pauses: list[float], settings: Any) -> None:
    settings.WARMER_MAX_BATCHES_PER_SECOND = 0.1
    declare("one", ids=lambda: range(4)).warm()
    declare("two", ids=lambda: range(4)).warm()
    assert [round(pause, -1) for pause in pauses] == [10, 20, 30]


def test_max_batches_per_second__fresh_batches_take_no_turn(pauses: list[float]) -> None:
    job = declare(max_batches_per_second=0.1)
    pipeline.warm_batch(job.spec, job.spec.key.batch(range(8)))
    assert job.warm(only_missing=True).skipped == 8
    assert pauses == []


def test_max_batches_per_second__off_asks_for_no_turn(redis_client: Redis) -> None:
    declare().warm()
    assert redis_client.keys("*warmer-turn*") == []
