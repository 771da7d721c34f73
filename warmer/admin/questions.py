"""Queries to servers that may hang: each runs in one thread at a time, and no page waits long for it.

All pages of this process share an answer for a few seconds, so many open tabs cost as much as one.
"""

from collections.abc import Callable
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
    """The result of a query; or what kind of error it was, and for how long this process had no answer."""

    value: T | None = None
    problem: str = ""
    failing_seconds: float = 0.0


class _Question(Generic[T]):
    """A query that is running, or ran a moment ago."""

    def __init__(self) -> None:
        self._thread = Thread()
        self._asked_at = self._ended_at = -inf
        self._result: T | BaseException = TimeoutError()
        self._failing_since: float | None = None

    def ask(self, function: Callable[[], T]) -> None:
        """Start the query, unless it is running or the last answer is still shared."""
        if not self._thread.is_alive() and monotonic() - self._asked_at >= SHARED_SECONDS:
            self._asked_at = monotonic()
            self._thread = Thread(target=self._run, args=[function], daemon=True)
            self._thread.start()

    def answer(self, deadline: float, late: float) -> Answer[T]:
        self._thread.join(max(0.0, deadline - monotonic()))
        result = self._result
        if self._thread.is_alive() and monotonic() - self._ended_at > late:
            result = TimeoutError()
        if isinstance(result, BaseException):
            self._failing_since = self._failing_since or self._asked_at
            return Answer(problem=cause_of(result), failing_seconds=monotonic() - self._failing_since)
        self._failing_since = None
        return Answer(value=result)

    def _run(self, function: Callable[[], T]) -> None:
        try:
            try:
                self._result = function()
            finally:  # this thread's own connections
                caches.close_all()
                connections.close_all()
        except BaseException as error:  # noqa: BLE001 - whatever it was, it is the answer
            self._result = error
        self._ended_at = monotonic()


asked: dict[str, _Question[Any]] = {}
_lock = Lock()


def ask(name: str, function: Callable[[], T], *, late: float = 0.0) -> Callable[[], Answer[T]]:
    """Start a query, unless a page did so a moment ago; return a function that waits for its one answer.

    If there is no answer in time, one that is at most `late` seconds old serves.
    """
    deadline = monotonic() + PATIENCE_SECONDS
    with _lock:
        question = asked.setdefault(name, _Question())
        question.ask(function)
    return cache(partial(question.answer, deadline, late))
