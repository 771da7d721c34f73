"""Fan-out: batches on worker processes, against the same run in one process.

A loader of 5 ms a batch stands for a query on another machine: two workers should do nearly twice as much.
With a loader that takes no time, one worker shows what a message, its acknowledgement and the ledger cost a
batch.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from django.core.cache import caches

from bench.celery_workers import Workers
from bench.measure import Benchmark, Comparison, Contender

BATCH = 100
SLOW = "a loader of 5 ms a batch"
QUICK = "a loader that takes no time"


def benchmark(rows: int) -> Benchmark:
    """Return who runs: each job in the client's process, and on workers."""
    one, two = Workers(processes=1, rows=rows), Workers(processes=2, rows=rows)
    runs = {
        "slow_here": (SLOW, "in one process", partial(two.client.ask, "run_here", "slow")),
        "slow_two": (SLOW, "on two worker processes", partial(two.client.ask, "run_on_workers", "slow")),
        "quick_here": (QUICK, "in one process", partial(one.client.ask, "run_here", "quick")),
        "quick_one": (QUICK, "on one worker process", partial(one.client.ask, "run_on_workers", "quick")),
    }
    contenders = [
        Contender(
            name=name,
            title=f"warmer: {title}",
            group=group,
            run=partial(_expect, run, rows),
            operations=math.ceil(rows / BATCH),
            prepare=_flush,
        )
        for name, (group, title, run) in runs.items()
    ]
    comparisons = [
        Comparison(subject="slow_two", against="slow_here", kind="speed", target=1.7),
        Comparison(subject="quick_one", against="quick_here", kind="difference", target=3.0),
    ]
    return Benchmark(
        operation="batch",
        shows="time",
        contenders=contenders,
        comparisons=comparisons,
        close=partial(_close, one, two),
    )


def _expect(run: Any, rows: int) -> None:
    found = run()
    if found["written"] != rows:
        raise AssertionError(f"{found['written']} of {rows} keys were written")


def _close(*workers: Workers) -> None:
    for each in workers:
        each.close()


def _flush() -> None:
    cache: Any = caches["default"]
    cache.client.get_client(write=True).flushdb()
