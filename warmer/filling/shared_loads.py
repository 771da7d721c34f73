"""Share loads between the threads of a process where the cache cannot, to avoid a thundering herd.

No reader uses the result of a load that began before it came, which may be older than a change that the
reader has already seen. While the cache is down, one load runs at a time for each set of keys. A reader that
arrives meanwhile waits for the next load, which serves every reader that is waiting by then. Readers that
have waited in vain for a load of another reader share one as well, but wait for none that began earlier.
"""

import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from contextlib import suppress
from copy import deepcopy
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.filling import read_counters
from warmer.filling.loading import is_loading, load_past_the_cache, take_pooled_connections
from warmer.invalidation import is_pending
from warmer.keys import Batch
from warmer.stores import name_here

T = TypeVar("T")


class _Load(Future[Any]):
    """A load for one or more readers. It is cancelled if e.g. a time-out of gevent stops its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.made = monotonic()

    def wait(self) -> bool:
        """Return whether it ended within `WARMER_READ_WAIT`; a hanging load must not block all readers."""
        # Not `self.exception(timeout)`, whose TimeoutError could also be one that interrupts this reader.
        return bool(wait([self], timeout=conf.READ_WAIT.total_seconds()).done) and not self.cancelled()

    def copy(self, instead: Callable[[], T]) -> T:
        """Return a copy of the result, or raise the error; if there is no copy, what `instead` returns."""
        result: T = self.result()
        with suppress(Exception):  # of a class that cannot be copied, as of a generator or a lock
            return deepcopy(result)
        return instead()


def load_without_cache(spec: JobSpec, wanted: Batch) -> dict[str, Any]:
    """Load keys without the cache, together with other readers."""
    read_counters.count(spec, {"past": len(wanted)})
    if is_pending(spec) or is_loading(spec):  # a loader would wait for itself
        return load_past_the_cache(spec, wanted)
    take_pooled_connections(spec)
    key = (name_here(spec.cache), spec, *wanted)
    return load_shared(key, partial(load_past_the_cache, spec, wanted))


_lock = Lock()
_running: dict[Hashable, _Load] = {}
_next: dict[Hashable, _Load] = {}


def load_shared(key: Hashable, load: Callable[[], T]) -> T:
    """Return a copy of the result of a load that began after this call, or raise its error.

    `load` runs in this thread, or that of another caller with the same key.
    """
    mine = _Load()
    with _lock:
        before = _running.get(key)
        found = (_running if before is None else _next).setdefault(key, mine)
    if found is not mine:
        return found.copy(load) if found.wait() else load()

    def load_in_turn() -> T:
        if before is not None:
            try:
                before.wait()
            finally:
                with _lock:
                    _running[key] = _next.pop(key)  # later readers wait for the next load
        return load()

    result = _run(key, mine, load_in_turn)
    # Other readers copy the result of a load that waited, while this reader may change its own.
    return result if before is None else mine.copy(lambda: result)


def load_at_once(key: Hashable, load: Callable[[], T], *, since: float) -> T:
    """Return the result of another caller's load if it began after `since`, else load without waiting.

    Raises only what this caller's own load raises. `since` is by `time.monotonic()`, and `key` is none of
    `load_shared`.
    """
    with _lock:
        running = _running.get(key)
        if is_mine := running is None or running.made < since:
            running = _running[key] = _Load()
    if is_mine:
        result = _run(key, running, load)
        return running.copy(lambda: result)
    return running.copy(load) if running.wait() and not running.exception() else load()


def _run(key: Hashable, mine: _Load, load: Callable[[], T]) -> T:
    try:
        result = load()
    except Exception as error:
        mine.set_exception(error)
        raise
    else:
        mine.set_result(result)
        return result
    finally:
        if mine.cancel():  # it has not ended
            mine.set_running_or_notify_cancel()  # wakes those who wait
        with _lock:
            # If another load is waiting for this one, it takes the place.
            if _running.get(key) is mine and key not in _next:
                del _running[key]


def _forget() -> None:
    """Start over after a fork: the loading threads no longer exist, and one may have held the lock."""
    global _lock
    _lock = Lock()
    _running.clear()
    _next.clear()


os.register_at_fork(after_in_child=_forget)
