"""Helpers for the tests of a project that uses `warmer`.

with at("loaded", change_the_row):      # act between a load and its write
    user_profiles.warm()

with hold("loaded") as point:           # or stop it there, while this thread continues
    thread = Thread(target=user_profiles.warm)
    thread.start()
    point.wait()
    change_the_row()
thread.join()                           # it continued at the end of the block
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from warmer import failpoints

# A test that waits longer for a point is stuck.
PATIENCE_SECONDS = 30


@contextmanager
def at(point: str, action: Callable[[], object], *, job: str | None = None, times: int = 1) -> Iterator[None]:
    """Run an action when execution reaches a named point, in the thread that reaches it.

    Args:
        point: one of `warmer.failpoints.NAMES`.
        action: the function to call.
        job: call it only for the job of that name.
        times: the maximum number of calls; calls caused by the action itself do not count.

    Raises:
        ValueError: the point does not exist.
        AssertionError: at the end of the block, if the point was never reached.
    """
    done = 0

    def step_in() -> None:
        nonlocal done
        if done < times:
            done += 1
            with _hooked(point, lambda: None):
                action()

    with _hooked(point, step_in, job):
        yield
    assert done, (
        f"the point {point!r} was never reached. If rows changed in the open transaction of a TestCase, "
        "nothing is filled from them: use a TransactionTestCase."
    )


class Held:
    """A point at which one thread stops."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._released = threading.Event()

    def wait(self) -> None:
        """Wait until a thread has reached the point.

        Raises:
            AssertionError: none has reached it after 30 s.
        """
        assert self._reached.wait(PATIENCE_SECONDS), "no thread reached the point"

    def release(self) -> None:
        """Let the thread continue."""
        self._released.set()

    def stop_here(self) -> None:
        """Stop the first thread that arrives, until it is released."""
        if not self._reached.is_set():
            self._reached.set()
            assert self._released.wait(PATIENCE_SECONDS), "the point was never released"


@contextmanager
def hold(point: str, *, job: str | None = None) -> Iterator[Held]:
    """Stop the first thread that reaches a named point, until the end of the block or `release()`.

    Args:
        point: one of `warmer.failpoints.NAMES`.
        job: stop only threads that handle the job of that name.

    Raises:
        ValueError: the point does not exist.
    """
    held = Held()
    with _hooked(point, held.stop_here, job):
        try:
            yield held
        finally:
            held.release()


@contextmanager
def _hooked(point: str, action: Callable[[], object], job: str | None = None) -> Iterator[None]:
    if point not in failpoints.NAMES:
        raise ValueError(f"Unknown point {point!r}: expected one of {', '.join(failpoints.NAMES)}.")
    before = failpoints.hooks.get(point)
    failpoints.hooks[point] = lambda name: action() if job in (None, name) else None
    try:
        yield
    finally:
        del failpoints.hooks[point]
        if before is not None:
            failpoints.hooks[point] = before
