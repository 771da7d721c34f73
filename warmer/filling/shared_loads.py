"""Share loads between the threads of a process while the cache is down, to avoid a thundering herd.

For each set of keys, one load runs at a time. A reader that arrives during a load does not use its result,
which may be older than a change that the reader has already seen. It waits for the next load, which begins
after the current one and serves every reader that is waiting by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from copy import deepcopy
from threading import Lock
from typing import Any

from warmer.conf import conf

_lock = Lock()
_running: dict[Hashable, Future[Any]] = {}
_next: dict[Hashable, Future[Any]] = {}


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
        future = queue.setdefault(key, Future())
    seconds = conf.READ_WAIT.total_seconds()
    if not is_mine:
        # Nobody waits forever: a hanging load must not block all readers.
        return deepcopy(future.result()) if wait([future], seconds).done else load()
    try:
        if before is not None:
            try:
                wait([before], seconds)
            finally:
                with _lock:
                    _running[key] = _next.pop(key)  # later readers wait for the next load
        result = load()
        future.set_result(result)
    except BaseException as error:
        future.set_exception(error)
        raise
    finally:
        with _lock:
            # If another load is waiting for this one, it takes the place.
            if _running.get(key) is future and key not in _next:
                del _running[key]
    # Other readers copy the result of a load that waited, while this reader may change its own.
    return result if before is None else deepcopy(result)


def _forget() -> None:
    """Start over after a fork: the loading threads no longer exist, and one may have held the lock."""
    global _lock
    _lock = Lock()
    _running.clear()
    _next.clear()


os.register_at_fork(after_in_child=_forget)
