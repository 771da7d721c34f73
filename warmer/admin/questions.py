"""Queries to servers that may hang: each runs in one thread at a time, and no page waits long for it.

All pages of this process share an answer for a few seconds, so many open tabs cost as much as one.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from math import inf
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, TypeVar

from django.core.cache import caches
from django.db import connections

from warmer.exceptions import cause_of

T = TypeVar("T")
# A page must answer within a second, whatever hangs; its session may have waited for the cache, too.
PATIENCE_SECONDS = 0.4
# Less than the 10 seconds between two refreshes of a page.
SHARED_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[T]):
    """The result of a query.

    Attributes:
        value: None if there is a problem.
        problem: the kind of error, without addresses; empty if there is an answer.
        failing_seconds: how long this process has not had an answer.
    """

    value: T | None = None
    problem: str = ""
    failing_seconds: float = 0.0


class _Question(Generic[T]):
    """A query that is running, or ran a moment ago."""

    def __init__(self) -> None:
        self._future: Future[T] = Future()
        self._future.set_exception(TimeoutError())  # as if it had run long ago
        self._asked_at = -inf
        self._earlier, self._earlier_at = self._future, -inf
        self._failed_at: float | None = None

    def ask(self, function: Callable[[], T]) -> None:
        """Start the query, unless it is running or the last answer is still shared."""
        if self._future.done() and monotonic() - self._asked_at >= SHARED_SECONDS:
            self._earlier, self._earlier_at = self._future, self._asked_at
            self._future, self._asked_at = Future(), monotonic()
            Thread(target=_run, args=[self._future, function], daemon=True).start()

    def answer(self, deadline: float, late: float) -> Answer[T]:
        try:
            error = self._future.exception(max(0.0, deadline - monotonic()))
        except TimeoutError as waited:
            if monotonic() - self._earlier_at <= late and self._earlier.exception() is None:
                return Answer(value=self._earlier.result())
            error = waited
        if error is None:
            self._failed_at = None
            return Answer(value=self._future.result())
        self._failed_at = self._failed_at or self._asked_at
        return Answer(problem=cause_of(error), failing_seconds=monotonic() - self._failed_at)


_questions: dict[str, _Question[Any]] = {}
_shared: dict[str, tuple[float, Any]] = {}
_lock = Lock()


def ask(
    name: str, function: Callable[[], T], *, late: float = 0.0, patience: float | None = None
) -> Callable[[], Answer[T]]:
    """Start a query, unless a page did so a moment ago; return a function that waits for its one answer.

    Args:
        name: identifies the query.
        function: returns the answer; called in a thread.
        late: if there is no answer in time, use one that is at most this many seconds old.
        patience: for how many seconds from now to wait for the answer; None: `PATIENCE_SECONDS`.
    """
    deadline = monotonic() + (PATIENCE_SECONDS if patience is None else patience)
    with _lock:
        question = _questions.setdefault(name, _Question())
        question.ask(function)
    return cache(partial(question.answer, deadline, late))


def shared(name: str, function: Callable[[], T]) -> T:
    """Return the recent result of a function, by its name, or call it in this thread."""
    made_at, _ = _shared.get(name, (-inf, None))
    if monotonic() - made_at >= SHARED_SECONDS:
        _shared[name] = (monotonic(), function())
    value: T = _shared[name][1]
    return value


def forget() -> None:
    """Forget all queries and answers."""
    _questions.clear()
    _shared.clear()


def _run(future: Future[T], function: Callable[[], T]) -> None:
    try:
        try:
            value = function()
        finally:  # this thread's own connections
            caches.close_all()
            connections.close_all()
    except BaseException as error:  # noqa: BLE001 - whatever it was: a question left open is never asked again
        future.set_exception(error)
    else:
        future.set_result(value)
