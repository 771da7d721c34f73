"""A key whose loads are not stored: readers wait for two that changes overtook, then share one of their own."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from threading import Event, Lock, Semaphore
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from embedded.waiting import wait_until
from tests.package.filling.single_flight.conftest import Flight
from tests.support.readers import PATIENCE_SECONDS
from warmer import warm_many
from warmer.filling import read_through
from warmer.filling.shared_loads import _Load

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


class SlowLoader:
    """A loader whose calls end when they are told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = Event()

    def __call__(self, ids: Sequence[Any]) -> Mapping[Any, Any]:
        self.calls += 1
        number = self.calls
        assert self.may_end.wait(PATIENCE_SECONDS)
        return dict.fromkeys(ids, number)

    def expect(self, calls: int) -> None:
        """Wait until it has been called so often."""
        wait_until(lambda: self.calls >= calls, seconds=PATIENCE_SECONDS, what=f"{calls} loads have begun")
        assert self.calls == calls


@pytest.fixture
def slow() -> Iterator[SlowLoader]:
    loader = SlowLoader()
    yield loader
    loader.may_end.set()


@pytest.fixture
def gave_up(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each reader came who waits for no load of another process any more."""
    came: list[float] = []
    load_at_once = read_through.load_at_once

    def give_up(key: Any, load: Any, *, since: float) -> Any:
        came.append(since)
        return load_at_once(key, load, since=since)

    monkeypatch.setattr(read_through, "load_at_once", give_up)
    return came


@pytest.fixture
def hot(flight: Flight, slow: SlowLoader, gave_up: list[float], settings: Any) -> Flight:
    """A flight whose job is loaded slowly, and whose readers do not give up for the time."""
    settings.WARMER_READ_WAIT = settings.WARMER_READ_CLAIM = timedelta(seconds=2 * PATIENCE_SECONDS)
    return replace(flight, job=warm_many("hot:{id}", ids=list, name="hot")(slow))


def looks(server: Redis) -> int:
    """Return how often the server was asked for keys, as by a reader who waits."""
    stats: Any = server.info("commandstats")
    return int(stats["cmdstat_mget"]["calls"])


def overtake(hot: Flight) -> None:
    """Change the key, once everyone who waits has seen who loads it."""
    before = looks(hot.server)
    wait_until(lambda: looks(hot.server) > before + 40, seconds=PATIENCE_SECONDS, what="all have looked")
    hot.job.invalidate([1])


def overtaken_twice(hot: Flight, slow: SlowLoader, gave_up: list[float]) -> list[Future[Any]]:
    """Start five readers of a key that changes twice while it is loaded; return them, all without a value."""
    readers = hot.readers(5, missed=5)
    for loads in (1, 2):
        slow.expect(loads)
        overtake(hot)
    slow.expect(4)
    wait_until(lambda: len(gave_up) == 2, seconds=PATIENCE_SECONDS, what="two load for themselves")
    return readers


def test_hot_key__one_reader_takes_over_at_a_change_and_not_when_its_load_ends(hot: Flight, slow: SlowLoader) -> None:
    readers = hot.readers(5, missed=5)
    overtake(hot)
    slow.expect(2)
    slow.may_end.set()
    assert sorted(reader.result() for reader in readers) == [1, 2, 2, 2, 2]
    assert slow.calls == 2


def test_hot_key__readers_overtaken_twice_share_a_load(hot: Flight, slow: SlowLoader, gave_up: list[float]) -> None:
    readers = overtaken_twice(hot, slow, gave_up)
    slow.may_end.set()
    values = sorted(reader.result() for reader in readers)
    stored = cache.get("hot:1")  # of the one who had claimed it; two shared the other load
    assert values == sorted([1, 2, 3, 4, 7 - stored])


def test_hot_key__nobody_waits_until_a_load_is_stored(hot: Flight, slow: SlowLoader, gave_up: list[float]) -> None:
    readers = overtaken_twice(hot, slow, gave_up)
    readers.append(hot.start(hot.job.get, 1))
    slow.expect(5)  # the last may not share a load that began before it came
    slow.may_end.set()
    assert {reader.result() for reader in readers} == {1, 2, 3, 4, 5}

    slow.may_end.clear()
    hot.job.invalidate([1])
    readers = hot.readers(5, missed=5)
    slow.expect(6)
    slow.may_end.set()
    assert [reader.result() for reader in readers] == [6] * 5


def test_value_that_cannot_be_stored__is_loaded_at_once_for_those_who_waited(
    flight: Flight, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_READ_WAIT = 2 * timedelta(seconds=PATIENCE_SECONDS)
    sharing, wait = [], _Load.wait
    monkeypatch.setattr(_Load, "wait", lambda load: sharing.append(load) or wait(load))
    calls, may_end = [], Semaphore(0)

    def load(ids: Sequence[Any]) -> Mapping[Any, Any]:
        calls.append(ids)
        assert may_end.acquire(timeout=PATIENCE_SECONDS)
        return dict.fromkeys(ids, 1j)

    odd = replace(flight, job=warm_many("odd:{id}", ids=list, name="odd")(load))
    readers = odd.readers(5, missed=5)
    try:
        may_end.release()
        wait_until(lambda: len(sharing) >= 2, seconds=PATIENCE_SECONDS, what="readers share a load")
    finally:
        may_end.release(5)
    assert [reader.result() for reader in readers] == [1j] * 5
    assert len(calls) <= 3  # one may have claimed the key before the first learned that it was not stored


def test_loader_that_raises__is_called_by_one_at_a_time_while_keys_change(flight: Flight, redis_client: Redis) -> None:
    calls: list[int] = []
    lock = Lock()
    most = 0

    @warm_many("failing:{id}", ids=list)
    def failing(ids: Sequence[Any]) -> Any:
        nonlocal most
        calls.append(1)
        is_alone = lock.acquire(blocking=False)
        most = max(most, 1 if is_alone else 2)
        if len(calls) <= 3 and is_alone:
            before = looks(redis_client)
            wait_until(lambda: looks(redis_client) > before + 20, seconds=PATIENCE_SECONDS, what="all looked")
        failing.invalidate([1000 + len(calls)])
        if is_alone:
            lock.release()
        raise ValueError("of one row")

    failing.spec.store.token(())
    readers = [flight.start(failing.get, 1) for _ in range(8)]
    for reader in readers:
        with pytest.raises(ValueError, match="of one row"):
            reader.result(PATIENCE_SECONDS)
    assert (len(calls), most) == (8, 1)
