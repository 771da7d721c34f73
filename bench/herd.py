"""A herd of readers on one cold key: how often its loader runs, and when the last of them has the value.

The readers are threads in four processes, as in a site's web workers, let go at the same moment. The load
takes 50 ms in which it needs no processor, as a query does on another machine. The time of a herd is from
the moment it is let go until the last reader has the value.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from cacheback.base import Job
from django.core.cache import cache, caches

from bench.measure import Benchmark, Comparison, Contender
from bench.workers import Worker, close_all
from warmer import warm

LOAD_SECONDS = 0.05
TIMEOUT_SECONDS = 3600
PROCESSES = 4
PATIENCE_SECONDS = 60
KEY = "bench:herd"
VALUE = {"id": 1, "title": "Old maps", "body": "Who drew them, and what they left out. " * 20}
CALLS = "loader calls"


def benchmark(rows: int) -> Benchmark:
    """Return who reads.

    Args:
        rows: how many readers there are.
    """
    shares = [rows // PROCESSES + (number < rows % PROCESSES) for number in range(PROCESSES)]
    workers = [Worker("bench.herd:Readers", readers=share) for share in shares]
    herd = Herd(workers)
    titles = {
        "alone": "the load alone, one reader",
        "warmer": "warmer: job.get()",
        "cacheback": "cacheback: Job.get()",
        "get_or_set": "cache.get_or_set(key, load)",
    }
    contenders = [
        Contender(
            name=name,
            title=title,
            run=herd.run,
            operations=1,
            prepare=partial(herd.prepare, name),
            verify=herd.verify,
            count=herd.count,
            other_cpu=herd.cpu,
        )
        for name, title in titles.items()
    ]
    comparisons = [
        Comparison(subject="warmer", against="alone", kind="cost", target=3.0),
        Comparison(subject="warmer", against="alone", kind="cost", target=1.0, of=CALLS),
        *(
            Comparison(subject=other, against="alone", kind="cost", of=of)
            for other in ("cacheback", "get_or_set")
            for of in (None, CALLS)
        ),
        Comparison(subject="warmer", against="cacheback", kind="speed"),
        Comparison(subject="warmer", against="get_or_set", kind="speed"),
    ]
    return Benchmark(
        operation="herd",
        shows="time",
        contenders=contenders,
        comparisons=comparisons,
        close=partial(close_all, workers),
    )


class Herd:
    """The readers of all processes."""

    def __init__(self, workers: list[Worker]) -> None:
        self._all = workers
        self._chosen = workers
        self._found: list[dict[str, int]] = []

    def prepare(self, way: str) -> None:
        """Empty the cache, and have the readers stand ready."""
        client: Any = caches["default"]
        client.client.get_client(write=True).flushdb()
        self._chosen = self._all[:1] if way == "alone" else self._all
        for worker in self._chosen:
            worker.ask("stand_ready", way)

    def run(self) -> None:
        """Let them go, and wait for the last."""
        for worker in self._chosen:
            worker.tell("go")
        self._found = [worker.answer() for worker in self._chosen]

    def verify(self) -> None:
        """See that each reader has got the value, and that somebody loaded it."""
        if wrong := sum(found["wrong"] for found in self._found):
            raise AssertionError(f"{wrong} readers did not get the value")
        if not self.count()[CALLS]:
            raise AssertionError("nobody loaded the value: the key was not cold")

    def count(self) -> Mapping[str, float]:
        """Return how often the loader ran."""
        return {CALLS: sum(found["calls"] for found in self._found)}

    def cpu(self) -> float:
        """Return the processor time of all processes."""
        return sum(worker.cpu for worker in self._all)


class Readers:
    """The readers of one process: what a worker does."""

    def __init__(self, readers: int) -> None:
        self._calls = 0
        self._lock = threading.Lock()
        self._number = readers
        self._pool = ThreadPoolExecutor(readers)
        self._go = threading.Event()
        self._reading: list[Any] = []
        job = warm(KEY, name="herd")(self._load)
        load = self._load

        class Cached(Job):
            def fetch(self) -> Any:
                return load()

        self._ways: Mapping[str, Callable[[], Any]] = {
            "alone": load,
            "warmer": job.get,
            "cacheback": Cached().get,
            "get_or_set": partial(cache.get_or_set, KEY, load, TIMEOUT_SECONDS),
        }

    def stand_ready(self, way: str) -> None:
        """Return when each thread waits to be let go, with a connection to the cache."""
        number = 1 if way == "alone" else self._number
        ready = threading.Barrier(number + 1)
        self._calls = 0
        self._go.clear()
        self._reading = [self._pool.submit(self._read, self._ways[way], ready) for _ in range(number)]
        ready.wait(PATIENCE_SECONDS)

    def go(self) -> dict[str, int]:
        """Let the threads go; return what came of it when the last has ended."""
        self._go.set()
        found = [each.result(PATIENCE_SECONDS) for each in self._reading]
        return {"calls": self._calls, "wrong": sum(value != VALUE for value in found)}

    def _read(self, read: Callable[[], Any], ready: threading.Barrier) -> Any:
        cache.get("bench:nothing")
        ready.wait(PATIENCE_SECONDS)
        self._go.wait(PATIENCE_SECONDS)
        return read()

    def _load(self) -> dict[str, Any]:
        with self._lock:
            self._calls += 1
        time.sleep(LOAD_SECONDS)
        return VALUE
