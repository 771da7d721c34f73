"""Tell who watches, e.g. for a request, of the calls to a cache. Where nobody does, it costs a look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Protocol


class Observer(Protocol):
    """Who is told. The calls come from any thread that has the context."""

    def called(self, alias: str, seconds: float) -> None:
        """Hear of a call to a cache, and how long it took."""

    def looked(self, alias: str, *, asked: int, found: int) -> None:
        """Hear how many keys were looked for, and how many of them were there."""


observer: ContextVar[Observer | None] = ContextVar("warmer_observer", default=None)
"""Who watches this context; None: nobody."""


@contextmanager
def called(alias: str) -> Iterator[None]:
    """Tell the observer of a block that is one call; what the block itself calls is part of it."""
    watching = observer.get()
    if watching is None:
        yield
        return
    token = observer.set(None)
    started = perf_counter()
    try:
        yield
    finally:
        observer.reset(token)
        watching.called(alias, perf_counter() - started)


def looked(alias: str, *, asked: int, found: int) -> None:
    """Tell the observer of a look at keys."""
    watching = observer.get()
    if watching is not None:
        watching.looked(alias, asked=asked, found=found)


@contextmanager
def looks(at_most: int) -> Iterator[None]:
    """Tell the observer of the calls of a block, and of its first looks only; the others look again."""
    watching = observer.get()
    if watching is None:
        yield
        return
    token = observer.set(_FirstLooks(watching, at_most))
    try:
        yield
    finally:
        observer.reset(token)


class _FirstLooks:
    def __init__(self, watching: Observer, at_most: int) -> None:
        self._watching = watching
        self._left = at_most

    def called(self, alias: str, seconds: float) -> None:
        self._watching.called(alias, seconds)

    def looked(self, alias: str, *, asked: int, found: int) -> None:
        if self._left > 0:
            self._left -= 1
            self._watching.looked(alias, asked=asked, found=found)
