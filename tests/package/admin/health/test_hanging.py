"""What hangs holds up no page, and is asked once."""

import socket
import sys
from collections.abc import Callable
from threading import Event
from typing import Any
from unittest.mock import call

import pytest
from django.db import connection
from django.test import Client

from embedded.redis_server import RedisServer
from tests.package.admin.pages import POSTS, count_calls, strip, text_of
from tests.support.waiting import make_waiting
from warmer import invalidation
from warmer.admin import health, questions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.usefixtures("impatient")
def test_hanging__cache_is_asked_once_and_given_up(
    olga: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, "_look_at_cache")
    redis_server.pause()
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    for _ in range(3):
        cache = strip(olga)["Cache default"]
        assert (cache.level, cache.section) == ("problem", health.HANGS)
    assert calls == [call("default")]


@pytest.mark.usefixtures("impatient")
def test_hanging__broker_is_asked_once_and_given_up(
    olga: Client, use_broker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [count_calls(monkeypatch, name) for name in ("_look_at_broker", "_look_for_workers")]
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        use_broker(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        for _ in range(3):
            found = strip(olga)
            assert (found["Broker"].level, found["Queue warming"].text) == ("problem", "unknown")
    assert asked == [[call()], [call()]]


@pytest.mark.usefixtures("impatient")
def test_hanging__another_database_leaves_the_rest_of_the_pages(olga: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = Event()
    look = invalidation.backlog
    monkeypatch.setattr(health, "written", lambda: ["default", "other"])
    monkeypatch.setattr(
        invalidation, "backlog", lambda *using: look(*using) if using == ("default",) else goes_on.wait(60)
    )
    make_waiting("posts", [1])
    found = strip(olga)
    assert "1 invalidation pending" in text_of(olga.get(POSTS).content.decode())
    goes_on.set()
    assert (found["Database other"].level, found["Database other"].section) == ("problem", health.DATABASE)
    assert found["Pending invalidations"].text.startswith("1 oldest")


def test_question__is_shared_for_a_while_then_asked_again(olga: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch, "_look_at_cache")
    for seconds, asked in ((20.0, 1), (20.0, 1), (0.0, 2)):
        monkeypatch.setattr(questions, "SHARED_SECONDS", seconds)
        strip(olga)
        assert len(calls) == asked


def test_question__its_late_answer_serves_the_next_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    goes_on, held = Event(), Event()
    patient = questions.ask("late", lambda: goes_on.wait(20) and "first")
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 0.0)
    assert questions.ask("late", str)().problem == "TimeoutError"
    goes_on.set()
    assert patient().value == "first"
    second = questions.ask("late", lambda: held.wait(20) and "second", late=60)
    assert second().value == "first"
    assert questions.ask("late", str)().problem == "TimeoutError"
    held.set()


def test_question__whose_thread_was_ended_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "SHARED_SECONDS", 0.0)
    assert questions.ask("anything", sys.exit)().problem == "SystemExit"
    assert questions.ask("anything", lambda: 1)().value == 1


def test_question__closes_the_connections_of_its_thread() -> None:
    def use_the_database() -> Any:
        connection.ensure_connection()
        return connection.connection is not None, connection._connections[connection._alias]

    answer = questions.ask("anything", use_the_database)()
    assert answer.value is not None
    was_open, wrapper = answer.value
    assert was_open
    assert wrapper.connection is None
