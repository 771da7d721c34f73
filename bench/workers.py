"""Runs on Celery workers, against the same in one process.

`fanout`: a loader takes 5 ms per batch, like a query to another machine, so two workers should be nearly
twice as fast. With a loader that takes no time, one worker shows the cost of a batch's message, its
acknowledgement and its row in the database.

`scale`: jobs of 10,000, 100,000 and 1,000,000 keys. The time per key and the memory of the process, the
workers and the broker should not grow. Each run has new processes, so each peak belongs to one run. The
values need no database, and the ids come one by one, so any growth is warmer's.
"""

import math
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from io import StringIO
from typing import Any

import psutil
from django.core.management import call_command

from bench.data import empty_cache
from bench.measure import Row, Table, Versus, cost, difference, speed
from bench.site import PROCESS, Site, Worker, peak
from bench.warming import BATCH, sizes
from config.celery import app
from embedded.processes import ProcessGroup
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from warmer import jobs
from warmer.models import Trigger, WarmingRun
from warmer.tasks import request_run

COMMAND = ["-m", "celery", "--quiet", "-A", "config", "worker", "--loglevel", "ERROR"]
COMMAND += ["--without-gossip", "--without-mingle"]
RUN_SECONDS = 600
HERE = "warmer: in one process"
WORKER, BROKER = "peak MiB of a worker process", "peak MiB of the broker"
MOST_MORE_MIB = 32.0
PACE = 1.2


class CeleryWorkers(ExitStack):
    """A worker with so many processes, its broker, and a client in a separate process."""

    def __init__(self, *, processes: int, keys: int) -> None:
        super().__init__()
        self._broker = self.enter_context(RedisServer(options={"maxmemory-policy": "noeviction"}))
        environment = {"CELERY_BROKER_URL": self._broker.url(0), "BENCH_KEYS": str(keys)}
        command = [sys.executable, *COMMAND, "--concurrency", str(processes)]
        self._worker = ProcessGroup(command, output=sys.stderr.fileno(), env=os.environ | environment)
        self.callback(self._worker.end, ())  # it is idle, but would take seconds to stop
        self.ask = self.enter_context(Worker(**environment)).ask
        self.ask(wait_for_worker)

    def peaks(self) -> dict[str, float]:
        """Return the peak memory of a worker's process and of the broker's data, in MiB."""
        with self._broker.client() as client:
            data = int(client.info("memory")["used_memory_peak"]) / 2**20
        worker = psutil.Process(self._worker.pid)
        processes = [worker, *worker.children(recursive=True)]
        return {WORKER: max(peak(process.pid) for process in processes), BROKER: data}


def fanout(rows: int, site: Site) -> list[Table[Row]]:
    one, two = (site.enter_context(CeleryWorkers(processes=count, keys=rows)) for count in (1, 2))
    row = partial(Row, operations=math.ceil(rows / BATCH), prepare=empty_cache, verify=partial(_expect, rows))

    def table(title: str, workers: CeleryWorkers, job: str, place: str, versus: Versus) -> Table[Row]:
        here = row(title=HERE, run=partial(workers.ask, run_here, job))
        there = row(
            title=f"warmer: on {place}", run=partial(workers.ask, run_on_workers, job), versus=[versus]
        )
        return Table(title=title, operation="batch", rows=[here, there])

    faster, slower = speed(other=HERE, target=1.7), difference(other=HERE, target=3.0)
    return [
        table("a loader of 5 ms a batch", two, "slow", "two worker processes", faster),
        table("a loader that takes no time", one, "quick", "one worker process", slower),
    ]


def scale(rows: int, site: Site) -> list[Table[Row]]:
    *smaller, largest = sizes(rows)
    started = site.enter_context(ExitStack())  # the place of the current run
    place: Any = None

    def renew(start: Callable[[], Any]) -> None:
        nonlocal place
        started.close()
        empty_cache()
        place = started.enter_context(start())

    def table(title: str, start: Callable[[], Any], warm: Callable[[str], int], *counts: str) -> Table[Row]:
        versus = {size: [cost(other=_title(largest), target=PACE)] for size in smaller}
        versus[largest] = []
        for other in map(_title, smaller):
            versus[largest].append(cost(other=other, target=PACE))
            versus[largest] += [difference(other=other, of=each, target=MOST_MORE_MIB) for each in counts]
        made = [
            Row(
                title=_title(size),
                run=lambda size=size: place.ask(warm, f"size_{size}"),
                operations=size,
                prepare=partial(renew, start),
                verify=lambda written, size=size: _expect(size, written) or place.peaks(),
                versus=versus[size],
            )
            for size in versus
        ]
        return Table(title=title, operation="key", rows=made)

    return [
        table("in one process", partial(Worker, BENCH_KEYS=str(rows)), warm, PROCESS),
        table(
            "on two worker processes",
            partial(CeleryWorkers, processes=2, keys=rows),
            run_on_workers,
            *(WORKER, BROKER),
        ),
    ]


def _title(size: int) -> str:
    return f"warmer: {size:,} keys"


def _expect(keys: int, written: int) -> None:
    if written != keys:
        raise AssertionError(f"{written} of {keys} keys were written")


# -- what a process does ---------------------------------------------------------------------------
def wait_for_worker() -> None:
    wait_until(lambda: bool(app.control.ping(timeout=0.2)), what="the worker answers")


def warm(job: str) -> int:
    """Warm a job in this process, without a run; return how many keys were written."""
    return jobs[job].warm().written


def run_here(job: str) -> int:
    """Run a job in this process; return how many keys were written."""
    call_command("warm_cache", job, inline=True, stdout=StringIO())
    return WarmingRun.objects.latest("pk").written


def run_on_workers(job: str) -> int:
    """Run a job on workers; return how many keys were written when it ended."""
    run = request_run(job, Trigger.COMMAND).run

    def has_ended() -> bool:
        run.refresh_from_db()
        return run.is_final

    wait_until(has_ended, seconds=RUN_SECONDS, what=f"the run of {job} has ended")
    return run.written
