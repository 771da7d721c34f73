"""Questions to servers that may hang: each is asked by one thread at a time, and no page waits long for it.

An answer is shared by the pages of this process for a few seconds, so many open tabs cost what one does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from math import inf
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, TypeVar

from django.core.cache import caches
from django.db import connections

T = TypeVar("T")
# A page answers within a second, whatever hangs: its session may have waited for the cache, too.
PATIENCE_SECONDS = 0.4
# Less than the 10 seconds between two updates of a page.
SHARED_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """What came of a question.

    Attributes:
        value: None if there is a problem.
        problem: the kind of error, without addresses; empty if there is an answer.
        failing_seconds: for how long this process has had no answer.
    """

    value: T | None = None
    problem: str = ""
    failing_seconds: float = 0.0


class Question(Generic[T]):
    """A question that is being asked, or was asked a moment ago."""

    def __init__(self) -> None:
        self._future: Future[T] = Future()
        self._future.set_exception(TimeoutError())  # as if it had been asked long ago
        self._asked_at = -inf
        self._earlier, self._earlier_at = self._future, -inf
        self._failed_at: float | None = None

    def ask(self, function: Callable[[], T]) -> None:
        """Begin to ask, unless it is being asked, or the answer is still shared."""
        if self._future.done() and monotonic() - self._asked_at >= SHARED_SECONDS:
            self._earlier, self._earlier_at = self._future, self._asked_at
            self._future, self._asked_at = Future(), monotonic()
            Thread(target=_run, args=[self._future, function], daemon=True).start()

    def answer(self, deadline: float, *, late: float = 0.0) -> Answer[T]:
        """Return the answer; wait for it until a moment of the monotonic clock.

        Args:
            late: instead of none, return the answer to what was asked at most so many seconds ago.
        """
        try:
            error = self._future.exception(max(0.0, deadline - monotonic()))
        except TimeoutError as waited:
            is_known = monotonic() - self._earlier_at <= late and self._earlier.exception() is None
            if is_known:
                return Answer(value=self._earlier.result())
            error = waited
        if error is None:
            self._failed_at = None
            return Answer(value=self._future.result())
        self._failed_at = self._failed_at or self._asked_at
        problem = type(error.__cause__ or error).__name__
        return Answer(problem=problem, failing_seconds=monotonic() - self._failed_at)


_questions: dict[str, Question[Any]] = {}
_shared: dict[str, tuple[float, Any]] = {}
_lock = Lock()


def ask(name: str, function: Callable[[], T]) -> Question[T]:
    """Begin to ask a question, unless a page did so a moment ago.

    Args:
        name: two questions of one name are the same.
        function: returns the answer; called in a thread.
    """
    with _lock:
        question = _questions.setdefault(name, Question())
        question.ask(function)
    return question


def shared(name: str, function: Callable[[], T]) -> T:
    """Return what a function of this name returned to a page a moment ago; else call it, in this thread."""
    made_at, _ = _shared.get(name, (-inf, None))
    if monotonic() - made_at >= SHARED_SECONDS:
        _shared[name] = (monotonic(), function())
    value: T = _shared[name][1]
    return value


def forget() -> None:
    """Forget all questions and answers."""
    _questions.clear()
    _shared.clear()


def _run(future: Future[T], function: Callable[[], T]) -> None:
    try:
        try:
            value = function()
        finally:  # what this thread opened is this thread's own
            caches.close_all()
            connections.close_all()
    except BaseException as error:  # noqa: BLE001 - whatever it was: a question left open is never asked again
        future.set_exception(error)
    else:
        future.set_result(value)
