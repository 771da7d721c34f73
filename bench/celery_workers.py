"""Real Celery workers for a benchmark, with a broker of their own, and a client that asks them for runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.workers import Worker
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from warmer import jobs, runs, tasks
from warmer.models import Trigger, WarmingRun
from warmer.runs import execution

SETTINGS = "bench.worker_settings"
COMMAND = ("celery", "-A", "config", "worker", "--loglevel", "ERROR", "--without-gossip", "--without-mingle")
PATIENCE_SECONDS = 600
MIB = 2**20


class Client:
    """In a process of its own: has jobs run, here or by workers."""

    def is_ready(self) -> bool:
        """Say whether a worker answers."""
        return bool(tasks.find_workers("warming", timeout=0.2, one_will_do=True).names)

    def warm(self, job: str) -> dict[str, float]:
        """Warm a job here; return how many keys were written, and the most memory that this process took."""
        declared: Any = jobs[job]
        return {"written": declared.warm().written, "peak": _peak_of(os.getpid())}

    def run_here(self, job: str) -> dict[str, float]:
        """Have a job run in this process, with its row in the ledger; return how many keys were written."""
        run = runs.open_run(job, Trigger.COMMAND).run
        execution.execute(jobs[job].spec, run)
        run.refresh_from_db()
        return {"written": run.written}

    def run_on_workers(self, job: str) -> dict[str, float]:
        """Have a job run by workers, and wait for its end; return how many keys were written."""
        run = tasks.request_run(job, Trigger.COMMAND).run

        def has_ended() -> bool:
            return WarmingRun.objects.get(pk=run.pk).is_final

        wait_until(has_ended, seconds=PATIENCE_SECONDS, what=f"the run of {job} has ended")
        run.refresh_from_db()
        return {"written": run.written}


def start_client(*, rows: int, broker: str = "") -> Worker:
    """Start a client, for jobs of so many keys.

    Args:
        broker: the address of the broker that it sends to.
    """
    changed = {"BENCH_ROWS": str(rows), **({"CELERY_BROKER_URL": broker} if broker else {})}
    before = dict(os.environ)
    os.environ |= changed
    try:
        return Worker("bench.celery_workers:Client", settings=SETTINGS)
    finally:
        os.environ.clear()
        os.environ |= before


class Workers:
    """A worker with some processes, its broker, and a client."""

    def __init__(self, *, processes: int, rows: int) -> None:
        self._broker = RedisServer(options={"maxmemory-policy": "noeviction"}).start()
        broker = self._broker.url(0)
        environment = {
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "CELERY_BROKER_URL": broker,
            "BENCH_ROWS": str(rows),
        }
        self._worker = subprocess.Popen(
            [sys.executable, "-m", *COMMAND, "--concurrency", str(processes)],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.client = start_client(rows=rows, broker=broker)
        wait_until(lambda: self.client.ask("is_ready"), seconds=60, what="the worker answers")

    def peak(self) -> int:
        """Return the most memory, in bytes, that one of the worker's processes took."""
        return max(_peak_of(process) for process in _family(self._worker.pid))

    def broker_peak(self) -> int:
        """Return the most memory, in bytes, that the broker's data took."""
        with self._broker.client() as client:
            info: Any = client.info("memory")
        return int(info["used_memory_peak"])

    def close(self) -> None:
        """End them all."""
        self.client.close()
        # It has nothing in hand, and would take seconds to end by itself.
        os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()
        self._broker.stop()


def _family(top: int) -> list[int]:
    """Return the numbers of a process and its children (Linux)."""
    children = Path(f"/proc/{top}/task/{top}/children").read_text().split()
    return [top, *(process for child in children for process in _family(int(child)))]


def _peak_of(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
