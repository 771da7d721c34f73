"""The project as a test sees it: its commands, its broker, and the rows that its processes write."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from celery import Celery
from django.db import connection
from redis import Redis

from embedded.waiting import wait_until
from warmer.models import WarmingRun

ROOT = Path(__file__).resolve().parent.parent.parent
# A bound for what takes a second or two, on a machine that is busy with other things.
SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Project:
    """Commands of the project, run in the environment of the worker under test.

    Attributes:
        environment: the variables that worker, beat and commands have in common.
        app: an app that sends to the workers' broker.
    """

    environment: Mapping[str, str]
    app: Celery

    def manage(self, *arguments: str, status: int = 0) -> str:
        """Run a management command to its end; return what it says. It must exit with `status`."""
        return self.finish(self.start(*arguments), status=status)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a management command and leave it running: `finish` it."""
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, command: subprocess.Popen[str], *, status: int = 0) -> str:
        """Wait for a command's end; return what it said. It must exit with `status`."""
        with command:
            try:
                said, _ = command.communicate(timeout=SECONDS)
            finally:
                command.kill()
        assert command.returncode == status, f"{command.args} ended with {command.returncode}: {said}"
        return said

    def request(self, job: str) -> WarmingRun:
        """Have a job's run done by the workers, and do not wait for it."""
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


def database_url() -> str:
    """Return the address of the database that this test process uses, for other processes.

    That is how worker and test share rows: a test has pytest-django's `transactional_db`, so what it
    saves is committed and the others see it, and what they save it reads with the ORM. The worker is
    gone before the tables are emptied, for its fixture depends on that of the database. Works with a
    SQLite file (in WAL mode, as in development) and with PostgreSQL (`--database=postgresql`).
    """
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def ended(run: WarmingRun) -> WarmingRun:
    """Wait until a run has ended; return it as it is in the ledger then."""
    return reached(run, lambda now: now.is_final, "has ended")


def reached(run: WarmingRun, condition: Callable[[WarmingRun], bool], what: str) -> WarmingRun:
    """Wait until a condition holds for a run; return it."""

    def holds() -> bool:
        run.refresh_from_db()
        return condition(run)

    try:
        wait_until(holds, seconds=SECONDS, what=f"{run} {what}")
    except TimeoutError as error:
        raise AssertionError(f"{error} It is {run.state}: {run.batches_done} batches, {run.report}") from None
    return run
