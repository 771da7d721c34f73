"""Fixtures of the stores: a breaker whose clock stands still, and what it hears."""

from collections.abc import Callable
from typing import Any

import pytest

from warmer.stores import breaker as breakers
from warmer.stores.breaker import Breaker

Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the breakers' clock; return what advances it."""
    now = [100.0]
    monkeypatch.setattr(breakers, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The failed calls so far: each waited for the server until its time-out."""
    heard: list[BaseException] = []
    failed = Breaker.failed

    def listen(self: Breaker, error: BaseException) -> None:
        heard.append(error)
        failed(self, error)

    monkeypatch.setattr(Breaker, "failed", listen)
    return heard


@pytest.fixture
def own_backend(settings: Any) -> str:
    """Put the backend of this package at the alias "own", on the server of this process; return the alias."""
    address = settings.CACHES["default"]["LOCATION"]
    own = {"BACKEND": "warmer.stores.redis.backend.RedisCache", "LOCATION": f"{address}?client_name=own"}
    settings.CACHES = {**settings.CACHES, "own": own}
    return "own"
