"""A herd of readers on one cold key: how often its loader runs, and when the last of them has the value.

The readers are threads in four processes, like a site's web workers, released at the same moment. The load
takes 50 ms of waiting and no processor time, like a query to another machine. The time of a herd is from its
release until the last reader has the value.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from cacheback.base import Job
from django.core.cache import cache

from bench.data import TIMEOUT_SECONDS, empty_cache
from bench.measure import Row, Table, cost, speed
from bench.site import Site, Worker
from warmer import warm

PROCESSES = 4
LOAD_SECONDS = 0.05
WAIT_SECONDS = 60
KEY = "bench:herd"
VALUE = {"id": 1, "title": "Old maps", "body": "Who drew them, and what they left out. " * 20}
CALLS = "loader calls"
ALONE, WARMER = "the load alone, one reader", "warmer: job.get()"
CACHEBACK, GET_OR_SET = "cacheback: Job.get()", "cache.get_or_set(key, load)"


def herd(rows: int, site: Site) -> list[Table[Row]]:
    workers = [site.enter_context(Worker()) for _ in range(min(PROCESSES, rows // 10))]
    bound = [cost(other=ALONE, target=3.0), cost(other=ALONE, of=CALLS, target=1.0)]
    costs = [cost(other=ALONE), cost(other=ALONE, of=CALLS)]
    faster = [speed(other=CACHEBACK), speed(other=GET_OR_SET)]
    versus = {ALONE: [], WARMER: [*bound, *faster], CACHEBACK: costs, GET_OR_SET: costs}

    def row(way: str) -> Row:
        chosen, readers = (workers[:1], 1) if way == ALONE else (workers, rows // len(workers))

        def prepare() -> None:
            empty_cache()
            for worker in chosen:
                worker.ask(stand_ready, way, readers)

        def run() -> int:
            begun = [(worker, worker.tell(release)) for worker in chosen]
            return sum(worker.answer(future) for worker, future in begun)

        def verify(calls: int) -> Mapping[str, float]:
            if not calls:
                raise AssertionError("no reader loaded the value: the key was not cold")
            return {CALLS: calls}

        return Row(
            title=way,
            run=run,
            operations=1,
            prepare=prepare,
            verify=verify,
            cpu=lambda: sum(worker.cpu for worker in workers),
            versus=versus[way],
        )

    return [Table(operation="herd", rows=list(map(row, versus)))]


# -- what a process does ---------------------------------------------------------------------------
calls: list[None] = []
released = threading.Event()
reading: list[Future[Any]] = []
pool = ThreadPoolExecutor(1_000)


def load() -> dict[str, Any]:
    calls.append(None)
    time.sleep(LOAD_SECONDS)
    return VALUE


class CachedValue(Job):
    def fetch(self) -> Any:
        return load()


READ = {
    ALONE: load,
    WARMER: warm(KEY, name="herd")(load).get,
    CACHEBACK: CachedValue().get,
    GET_OR_SET: partial(cache.get_or_set, KEY, load, TIMEOUT_SECONDS),
}


def stand_ready(way: str, readers: int) -> None:
    """Start the threads; return when each has a connection to the cache and waits for its release."""
    ready = threading.Barrier(readers + 1)
    calls.clear()
    released.clear()
    reading[:] = [pool.submit(_read, way, ready) for _ in range(readers)]
    ready.wait(WAIT_SECONDS)


def release() -> int:
    """Release the threads, and check what each has read; return how often the value was loaded."""
    released.set()
    if wrong := [each for each in reading if each.result(WAIT_SECONDS) != VALUE]:
        raise AssertionError(f"{len(wrong)} readers did not get the value")
    return len(calls)


def _read(way: str, ready: threading.Barrier) -> Any:
    cache.get("bench:nothing")
    ready.wait(WAIT_SECONDS)
    released.wait(WAIT_SECONDS)
    return READ[way]()
