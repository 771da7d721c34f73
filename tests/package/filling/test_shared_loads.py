"""While the cache is away, the readers of a process share loads, and none gets an older value than it may."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from time import monotonic
from typing import Any
from unittest.mock import Mock

import pytest

from embedded.waiting import wait_until
from tests.support.others import holds_in_a_fork
from warmer.filling import shared_loads
from warmer.filling.shared_loads import _Load, load_at_once, load_shared


class Loader:
    """Counts its loads; each waits until it may go on, and returns what the row holds when it began."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.row: list[Any] = ["old"]
        self.began = 0
        self.may_end = threading.Semaphore(0)

    def __call__(self) -> list[Any]:
        self.began += 1
        value = list(self.row)
        assert self.may_end.acquire(timeout=30)
        return value

    def start(self, count: int = 1) -> list[Future[Any]]:
        """Start readers."""
        return [self.pool.submit(load_shared, "key", self) for _ in range(count)]

    def start_at_once(self, *, since: float) -> Future[Any]:
        """Start a reader who has waited in vain."""
        return self.pool.submit(load_at_once, "key", self, since=since)

    def expect(self, loads: int) -> None:
        """Wait until so many loads have begun."""
        wait_until(lambda: self.began == loads, seconds=30, what=f"{loads} loads have begun")


@pytest.fixture
def loader() -> Iterator[Loader]:
    """A loader that leaves nothing behind."""
    with ThreadPoolExecutor(9) as pool:
        loader = Loader(pool)
        try:
            yield loader
        finally:
            loader.may_end.release(100)
    assert not shared_loads._running
    assert not shared_loads._next


def wait_for_the_next() -> None:
    """Wait until readers stand in the queue; one of them leads it."""
    wait_until(lambda: "key" in shared_loads._next, seconds=30, what="a reader waits for the next load")


def test_readers__during_a_load_share_the_next_one_and_have_copies_of_their_own(loader: Loader) -> None:
    [first] = loader.start()
    loader.expect(1)
    loader.row = ["new"]
    later = loader.start(8)
    wait_for_the_next()
    assert loader.began == 1
    loader.may_end.release(2 + 8)
    values = [each.result(30) for each in later]
    assert (first.result(30), values) == (["old"], [["new"]] * 8)
    assert loader.began < 9
    assert len(set(map(id, values))) == 8


def test_load_at_once__is_shared_by_those_who_came_before_it_began(loader: Loader) -> None:
    came = monotonic()
    first = loader.start_at_once(since=came)
    loader.expect(1)
    loader.row = ["new"]
    joined = loader.start_at_once(since=came)
    later = loader.start_at_once(since=monotonic())
    loader.expect(2)  # who came later loads at once
    loader.may_end.release(3)
    values = [each.result(30) for each in (first, joined, later)]
    assert values[0] == ["old"]
    assert values[1] in (["old"], ["new"])  # both began after it came
    assert values[2] == ["new"]
    assert loader.began == 2
    assert len(set(map(id, values))) == 3


def test_load_at_once__of_another_that_fails_is_no_error_of_this_reader(loader: Loader) -> None:
    errors, may_end, came = [ValueError("of the first")], threading.Event(), monotonic()

    def load() -> str:
        error = errors.pop() if errors else None
        assert may_end.wait(30)
        if error:
            raise error
        return "value"

    first = loader.pool.submit(load_at_once, "key", load, since=came)
    wait_until(lambda: not errors, seconds=30, what="the first load began")
    second = loader.pool.submit(load_at_once, "key", load, since=came)
    may_end.set()
    assert second.result(30) == "value"
    with pytest.raises(ValueError, match="of the first"):
        first.result(30)


def test_error__reaches_those_who_waited_for_this_load_only() -> None:
    fail = Mock(side_effect=ValueError("of the loader"))
    for _ in range(2):
        with pytest.raises(ValueError, match="of the loader"):
            load_shared("key", fail)
    assert fail.call_count == 2
    assert not shared_loads._running


def test_interrupt__of_who_loads_is_no_error_of_the_others(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    class Timeout(BaseException):
        """As gevent raises it in one greenlet."""

    settings.WARMER_READ_WAIT = timedelta(minutes=1)  # they do not wait for a load that has ended
    waiting, wait = [], _Load.wait
    monkeypatch.setattr(_Load, "wait", lambda load: waiting.append(load) or wait(load))
    loader.start()
    loader.expect(1)
    interrupted = loader.pool.submit(load_shared, "key", Mock(side_effect=Timeout))
    wait_for_the_next()
    others = loader.start(3)
    wait_until(lambda: len(waiting) == 4, seconds=30, what="all readers wait")
    loader.row = ["new"]
    loader.may_end.release(4)
    assert [each.result(30) for each in others] == [["new"]] * 3
    with pytest.raises(Timeout):
        interrupted.result(30)


def test_time_limit__of_a_reader_that_waits_is_raised(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, wait = threading.Event(), _Load.wait
    monkeypatch.setattr(_Load, "wait", lambda load: waiting.set() or wait(load))

    def interrupt() -> None:
        assert waiting.wait(30)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    handler = signal.signal(signal.SIGALRM, Mock(side_effect=TimeoutError("of the reader")))
    try:
        loader.start()
        loader.expect(1)
        loader.pool.submit(interrupt)
        with pytest.raises(TimeoutError, match="of the reader"):
            load_shared("key", loader)
    finally:
        signal.signal(signal.SIGALRM, handler)
        loader.may_end.release(2)


def test_time_limit__as_the_load_ends_is_the_error_of_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(load: _Load, result: str) -> None:
        Future.set_result(load, result)
        raise TimeIsUp

    class TimeIsUp(Exception):
        """As Celery's soft time limit raises it between any two steps."""

    monkeypatch.setattr(_Load, "set_result", interrupted)
    with pytest.raises(TimeIsUp):
        load_shared("key", lambda: "value")
    assert not shared_loads._running


def test_value_that_cannot_be_copied__is_loaded_once_for_each(loader: Loader) -> None:
    loader.row = [memoryview(b"value")]
    loader.may_end.release(100)
    came = monotonic()
    assert loader.start_at_once(since=came).result(30) == loader.row
    readers = [*loader.start(4), *(loader.start_at_once(since=came) for _ in range(4))]
    assert [each.result(30) for each in readers] == [loader.row] * 8
    assert loader.began == 9


def test_readers__do_not_see_what_another_changes_in_its_copy(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    is_changed, wait = threading.Event(), _Load.wait

    def slow(load: _Load) -> bool:
        has_ended = wait(load)
        if threading.current_thread() is waiting:
            assert is_changed.wait(30)
        return has_ended

    def lead() -> None:
        load_shared("key", loader).append("of this reader")
        is_changed.set()

    seen: list[Any] = []
    waiting = threading.Thread(target=lambda: seen.append(load_shared("key", loader)))
    monkeypatch.setattr(_Load, "wait", slow)
    [first] = loader.start()
    loader.expect(1)
    leading = loader.pool.submit(lead)
    wait_for_the_next()
    waiting.start()
    loader.may_end.release(2)
    leading.result(30)
    waiting.join(30)
    assert first.result() == ["old"]
    assert seen == [["old"]]


def test_reader__between_two_loads_waits_for_the_second(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[_Load] = []
    may_go_on, wait = threading.Event(), _Load.wait

    def slow(load: _Load) -> bool:
        waiting.append(load)
        has_ended = wait(load)
        assert may_go_on.wait(30)
        return has_ended

    monkeypatch.setattr(_Load, "wait", slow)
    try:
        [first] = loader.start()
        loader.expect(1)
        [second] = loader.start()
        wait_for_the_next()
        loader.may_end.release()
        assert first.result(30) == ["old"]
        [third] = loader.start()
        wait_until(lambda: len(waiting) + loader.began == 3, seconds=30, what="the third waits or loads")
        assert loader.began == 1
    finally:
        may_go_on.set()
        loader.may_end.release(2)
    assert (second.result(30), third.result(30), loader.began) == (["old"], ["old"], 2)


class Lingering(_Load):
    """A load whose thread does not go on at once when it ended."""

    may_go_on = threading.Event()

    def set_result(self, result: Any) -> None:
        super().set_result(result)
        assert self.may_go_on.wait(30)


@pytest.mark.parametrize("is_hanging", [True, False])
def test_readers__after_the_next_load_began_wait_for_the_one_after(
    loader: Loader, is_hanging: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lingering.may_go_on.clear()
    monkeypatch.setattr(shared_loads, "_Load", Lingering)
    try:
        loader.start()
        loader.expect(1)
        if is_hanging:
            settings.WARMER_READ_WAIT = timedelta(milliseconds=1)
        [second] = loader.start()
        if not is_hanging:
            wait_for_the_next()
            loader.may_end.release()
        loader.expect(2)
        settings.WARMER_READ_WAIT = timedelta(seconds=30)
        loader.row = ["new"]
        [third] = loader.start()
        wait_for_the_next()
    finally:
        Lingering.may_go_on.set()
        loader.may_end.release(3)
    assert second.result(30) == ["old"]
    assert third.result(30) == ["new"]


def test_fork__forgets_the_loads_of_threads_that_are_not_in_the_child(loader: Loader) -> None:
    loader.start()
    loader.expect(1)
    with shared_loads._lock:
        assert holds_in_a_fork(lambda: shared_loads._lock.acquire(timeout=0) and not shared_loads._running)
