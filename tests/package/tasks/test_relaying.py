"""The relay's thread in a worker's main process, which forks."""

import threading
from itertools import chain, repeat
from typing import Any

import pytest

from embedded.waiting import wait_until
from tests.support.keyed import cached, gone
from tests.support.others import holds_in_a_fork
from warmer.invalidation import records, relay
from warmer.invalidation.records import Record
from warmer.stores import incarnation_of
from warmer.tasks import broker, relaying

pytestmark = pytest.mark.django_db(transaction=True)


def test_fork__shares_no_connection_of_the_relay() -> None:
    relaying.start()
    (thread,) = (each for each in threading.enumerate() if each.name == "warmer-relay")
    try:
        wait_until(lambda: relaying._open and relaying._open[0].connection, seconds=20, what="it has polled")
        assert holds_in_a_fork(lambda: all(each.connection is None for each in relaying._open))
        wait_until(lambda: relaying._open[0].connection, seconds=20, what="it polls again")
    finally:
        relaying.stop()
        thread.join()


def test_relay__applies_changes_while_a_broker_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(*_args: Any, **_options: Any) -> None:
        is_called.set()
        is_over.wait()

    is_called, is_over = threading.Event(), threading.Event()
    answers = chain([lambda _: None], repeat(incarnation_of))
    monkeypatch.setattr(broker, "send", send)
    monkeypatch.setattr(relay, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(relay, "incarnation_of", lambda alias: next(answers)(alias))
    relaying.start()
    try:
        assert is_called.wait(20)  # the cache has returned
        cached("post:7")
        records.write([Record(key="post:{id}", rows="[7]")], using="default")
        wait_until(lambda: gone("post:7"), seconds=20, what="the change is applied")
    finally:
        is_over.set()
        relaying.stop()
        wait_until(lambda: not relaying._open, seconds=20, what="the relay has ended")
