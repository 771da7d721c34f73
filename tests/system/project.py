"""The project as a test sees it: its commands, its broker, and the rows that its processes write."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from celery import Celery
from redis import Redis

from embedded.waiting import wait_until
from tests.support.processes import run
from warmer.models import WarmingRun


@dataclass(frozen=True, kw_only=True)
class Project:
    """Commands of the project, run in the environment of the worker under test."""

    environment: Mapping[str, str]
    app: Celery  # sends to the workers' broker

    def manage(self, *arguments: str, status: int = 0) -> str:
        """Run a management command to its end; return what it says. It must exit with `status`."""
        output = {"capture_output": False, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = run(sys.executable, "manage.py", *arguments, env=os.environ | self.environment, **output)
        assert done.returncode == status, f"{done.args} ended with {done.returncode}: {done.stdout}"
        return done.stdout

    def request(self, job: str) -> WarmingRun:
        self.manage("warm_cache", "--no-wait", job)
        return WarmingRun.objects.filter(job=job).latest("id")

    def send(self, task: str, *arguments: object, queue: str | None = None) -> str:
        """Send a task's message by hand, as a broker that delivers twice would; return its id."""
        return str(self.app.send_task(task, args=arguments, queue=queue).id)

    def in_hand(self, task: str = "warmer.warm_batch") -> list[float]:
        """Return when each message of a task was delivered that no worker has acknowledged yet."""
        with Redis.from_url(self.environment["CELERY_BROKER_URL"], decode_responses=True) as broker:
            delivered = dict(broker.zrange("unacked_index", 0, -1, withscores=True))
            messages = {tag: json.loads(raw)[0] for tag, raw in broker.hgetall("unacked").items()}
        return [
            delivered[tag]
            for tag, message in messages.items()
            if message["headers"]["task"] == task and tag in delivered
        ]

    def has_no_batches(self) -> bool:
        """Return whether no message of a batch waits at the broker or is with a worker."""
        with Redis.from_url(self.environment["CELERY_BROKER_URL"]) as broker:
            return not self.in_hand() and not broker.llen("warming")


def ended(run: WarmingRun) -> WarmingRun:
    """Wait until a run has ended; return it as it is in the ledger then."""
    return reached(run, lambda now: now.is_final, "has ended")


def reached(run: WarmingRun, condition: Callable[[WarmingRun], bool], what: str) -> WarmingRun:
    """Wait until a condition holds for a run; return it."""

    def holds() -> bool:
        run.refresh_from_db()
        return condition(run)

    try:
        wait_until(holds, what=f"{run} {what}")
    except TimeoutError as error:
        raise AssertionError(f"{error} It is {run.state}: {run.batches_done} batches, {run.report}") from None
    return run
