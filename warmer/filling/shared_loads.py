"""Share loads between the threads of a process where the cache cannot, to avoid a thundering herd.

No reader uses the result of a load that began before it came, which may be older than a change that the
reader has already seen. While the cache is down, one load runs at a time for each set of keys. A reader that
arrives meanwhile waits for the next load, which serves every reader that is waiting by then. Readers that
have waited in vain for a load of another reader share one as well, but wait for none that began earlier.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from copy import deepcopy
from threading import Lock
from time import monotonic
from typing import Any

from warmer.conf import conf


class _Load(Future[Any]):
    """A load; it begins when it is made, or later."""

    def __init__(self) -> None:
        super().__init__()
        self.made = monotonic()


_lock = Lock()
_running: dict[Hashable, _Load] = {}
_next: dict[Hashable, _Load] = {}


def load_shared(key: Hashable, load: Callable[[], Any]) -> Any:
    """Return the result of a load that began after this call; each caller gets its own copy.

    Args:
        key: identifies the load.
        load: runs the load, in this thread or in that of another caller with the same key.

    Raises:
        Exception: anything the load raises.
    """
    with _lock:
        before = _running.get(key)
        queue = _running if before is None else _next
        is_mine = key not in queue
        future = queue.setdefault(key, _Load())
    seconds = conf.READ_WAIT.total_seconds()
    if not is_mine:
        # Nobody waits forever: a hanging load must not block all readers.
        return deepcopy(future.result()) if wait([future], seconds).done else load()

    def load_in_turn() -> Any:
        if before is not None:
            try:
                wait([before], seconds)
            finally:
                with _lock:
                    _running[key] = _next.pop(key)  # later readers wait for the next load
        return load()

    result = _run(key, future, load_in_turn)
    # Other readers copy the result of a load that waited, while this reader may change its own.
    return result if before is None else deepcopy(result)


def load_at_once(key: Hashable, load: Callable[[], Any], *, since: float) -> Any:
    """Return the result of another caller's load if it began after `since`, else load without waiting.

    Args:
        key: identifies what is loaded; not a key of `load_shared`.
        since: when this reader came, by `time.monotonic()`.

    Raises:
        Exception: whatever this caller's own load raises, never an error of another's load.
    """
    with _lock:
        running = _running.get(key)
        if is_mine := running is None or running.made < since:
            running = _running[key] = _Load()
    if is_mine:
        return deepcopy(_run(key, running, load))
    is_done = wait([running], conf.READ_WAIT.total_seconds()).done and running.exception() is None
    return deepcopy(running.result()) if is_done else load()


def _run(key: Hashable, future: _Load, load: Callable[[], Any]) -> Any:
    try:
        result = load()
        future.set_result(result)
        return result
    except BaseException as error:
        future.set_exception(error)
        raise
    finally:
        with _lock:
            # If another load is waiting for this one, it takes the place.
            if _running.get(key) is future and key not in _next:
                del _running[key]


def _forget() -> None:
    """Start over after a fork: the loading threads no longer exist, and one may have held the lock."""
    global _lock
    _lock = Lock()
    _running.clear()
    _next.clear()


os.register_at_fork(after_in_child=_forget)
