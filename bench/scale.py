"""Scale: jobs of 10,000, 100,000 and 1,000,000 keys, in one process and on workers.

The time of a key should be the same for each, and so should the memory: of the process that runs, of the
worker's processes and of the broker. Each has a process, a worker and a broker of its own, so that a peak is
its own. The values need no database, and the ids come one by one: what grows would be warmer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.cache import caches

from bench.celery_workers import MIB, Workers, start_client
from bench.measure import Benchmark, Comparison, Contender
from bench.workers import Worker

HERE, THERE = "in one process", "on two worker processes"
RUNNER, WORKER, BROKER = "peak MiB of the process", "peak MiB of a worker process", "peak MiB of the broker"
MOST_MORE_MIB = 32.0
PACE = 1.2


def benchmark(rows: int) -> Benchmark:
    """Return who runs: each size, in each place."""
    sizes = sorted({max(1, rows // 100), max(1, rows // 10), rows})
    contenders = []
    comparisons: list[Comparison] = []
    for where, make in ((HERE, Here), (THERE, There)):
        for size in sizes:
            trial = make(size, rows)
            contenders.append(
                Contender(
                    name=f"{make.__name__}_{size}",
                    title=f"warmer: {size:,} keys",
                    group=where,
                    run=trial.run,
                    operations=size,
                    prepare=trial.prepare,
                    count=trial.count,
                )
            )
        comparisons += _compared([f"{make.__name__}_{size}" for size in sizes], make.counts)
    return Benchmark(operation="key", shows="time", contenders=contenders, comparisons=comparisons)


def _compared(names: list[str], counts: tuple[str, ...]) -> list[Comparison]:
    """Compare the largest with the others: its time may be neither much more nor much less a key."""
    last = names[-1]
    compared = []
    for other in names[:-1]:
        compared += [
            Comparison(subject=last, against=other, kind="cost", target=PACE),
            Comparison(subject=other, against=last, kind="cost", target=PACE),
            *(
                Comparison(subject=last, against=other, kind="difference", of=of, target=MOST_MORE_MIB)
                for of in counts
            ),
        ]
    return compared


class Here:
    """A run in one process, which is a new one each time."""

    counts: tuple[str, ...] = (RUNNER,)
    what = "warm"

    def __init__(self, size: int, rows: int) -> None:
        self.size = size
        self.rows = rows
        self.found: dict[str, float] = {}

    def prepare(self) -> None:
        """Empty the cache, and start what the run needs."""
        cache: Any = caches["default"]
        cache.client.get_client(write=True).flushdb()
        self.client = self.start()

    def start(self) -> Worker:
        """Start what the run needs; return the client."""
        return start_client(rows=self.rows)

    def run(self) -> None:
        """Warm, and see that every key was written."""
        self.found = self.client.ask(self.what, f"size_{self.size}")
        if self.found["written"] != self.size:
            raise AssertionError(f"{self.found['written']} of {self.size} keys were written")

    def count(self) -> Mapping[str, float]:
        """Return the peaks, and end what was started."""
        self.client.close()
        return {RUNNER: self.found["peak"] / MIB}


class There(Here):
    """A run on workers."""

    counts = (WORKER, BROKER)
    what = "run_on_workers"

    def start(self) -> Worker:
        self.workers = Workers(processes=2, rows=self.rows)
        return self.workers.client

    def count(self) -> Mapping[str, float]:
        peaks = {WORKER: self.workers.peak() / MIB, BROKER: self.workers.broker_peak() / MIB}
        self.workers.close()
        return peaks
