"""A key without a value: one load for those who waited, and a new one for who comes later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from tests.integration.readers import PATIENCE_SECONDS
from tests.integration.single_flight.loading import Loader, Start
from warmer.filling import read_through
from warmer.testing import hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_absent_key__is_one_load_for_those_who_waited_and_one_for_who_comes_later(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any, redis_client: Redis
) -> None:
    with hold("loaded", job="cold") as point:
        readers = [start(job.get, 404, "none") for _ in range(51)]
        point.wait()
        missed(51)
    assert [each.result() for each in readers] == ["none"] * 51
    assert loader.calls == [[404]]
    assert job.get(404, "none") == "none"
    assert loader.calls == [[404], [404]]
    assert cache.get("cold:404") is None


def test_absent_key__who_waited_is_answered_though_the_next_load_has_begun(
    missed: Callable[[int], None],
    start: Start,
    loader: Loader,
    job: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asleep, wake = threading.Event(), threading.Event()

    def sleep(_seconds: float) -> None:
        asleep.set()
        assert wake.wait(PATIENCE_SECONDS)

    with hold("loaded", job="cold") as point:
        first = start(job.get, 404)
        point.wait()
        monkeypatch.setattr(read_through, "sleep", sleep)
        waiting = start(job.get, 404)
        assert asleep.wait(PATIENCE_SECONDS)
    assert first.result() is None
    with hold("loaded", job="cold") as point:
        later = start(job.get, 404)
        point.wait()
        wake.set()
        assert waiting.result(PATIENCE_SECONDS) is None
        assert not later.done()
    assert later.result() is None
    assert loader.calls == [[404], [404]]


def test_absent_key__created_while_it_was_loaded_is_not_called_absent(
    missed: Callable[[int], None], start: Start, loader: Loader, job: Any
) -> None:
    with hold("loaded", job="cold") as point:
        first = start(job.get, 404)
        point.wait()
        waiting = [start(job.get, 404) for _ in range(5)]
        missed(6)
        loader.rows[404] = "created"
        job.invalidate([404])
    assert first.result() is None
    assert [each.result() for each in waiting] == ["created"] * 5
    assert loader.calls == [[404], [404]]
