"""Ctrl-C, heard between two steps of a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupted_between_steps() -> Iterator[Callable[[], None]]:
    """Have the first Ctrl-C of a block come where it calls what it is given, and not amid a call to a server.

    There it may find a lock just taken, or half a question sent, and who tidies up afterwards waits for
    these. A second one comes at once. Nothing is changed where it is ignored, as in the background, or in
    another thread than the main one.
    """
    pressed = threading.Event()

    def step() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield step
        return

    def hear(_signal: int, _frame: Any) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hear)
    try:
        yield step
    finally:
        signal.signal(signal.SIGINT, before)
