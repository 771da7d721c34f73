"""A job's store is opened when it is first used, by any thread."""

import signal
from threading import Event, Thread
from typing import Any

import pytest

from tests.support.jobs import make_spec
from tests.support.others import holds_in_a_fork
from warmer.declarations import spec as module

FORKED_SECONDS = 30


def test_store__in_a_process_forked_while_a_thread_opens_one(monkeypatch: pytest.MonkeyPatch) -> None:
    opening, may_open, open_store = Event(), Event(), module.open_store

    def held(**options: Any) -> Any:
        opening.set()
        assert may_open.wait(60)
        return open_store(**options)

    def opens() -> bool:
        monkeypatch.setattr(module, "open_store", open_store)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends this process
        signal.alarm(FORKED_SECONDS)
        return other.store is not None

    one, other = make_spec(), make_spec()
    monkeypatch.setattr(module, "open_store", held)
    thread = Thread(target=lambda: one.store)
    thread.start()
    try:
        assert opening.wait(60)
        assert holds_in_a_fork(opens)
    finally:
        may_open.set()
        thread.join()
