"""Start a supervisor as somebody in a terminal does, look at what it says and at what it leaves."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from embedded.waiting import wait_until
from tests.support.processes import ROOT

# What the test run set for itself, or what would lead the site to other servers.
NOT_INHERITED = {
    *("ADMIN_PASSWORD", "ADMIN_USERNAME", "CELERY_BROKER_URL", "DATABASE_URL", "DJANGO_ENV"),
    *("DJANGO_SETTINGS_MODULE", "HOST", "PORT", "REDIS_URL", "WARMER_DATA_DIR"),
}
PATIENCE_SECONDS = 120


def clean_environment(**variables: str) -> dict[str, str]:
    """Return the environment of somebody who set nothing but these variables."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_INHERITED and not name.startswith(("PYTEST_", "COV_"))
    }
    return inherited | variables


class Supervised:
    """A running command whose output goes to a file; all its processes are ended at the end."""

    def __init__(self, command: Sequence[str], *, output: Path, env: Mapping[str, str]) -> None:
        self._output = output
        with output.open("wb") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, env=dict(env), stdout=stream, stderr=subprocess.STDOUT)
        self._family: dict[int, psutil.Process] = {}

    @property
    def text(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, words: str) -> None:
        self.wait_until(lambda: words in self.text, f"it says {words!r}")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, and note meanwhile which processes there are."""

        def holds() -> bool:
            ended = self._has_ended()
            if condition():
                return True
            assert not ended, f"ended with {self.process.returncode} before {what}:\n{self.text}"
            return False

        wait_until(holds, seconds=PATIENCE_SECONDS, what=what)

    def find(self, words: str) -> psutil.Process:
        """Return its oldest running process whose command line has these words."""
        found = [process for process in self.left() if words in " ".join(process.cmdline())]
        return min(found, key=lambda process: process.create_time())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor alone, as Ctrl-C does: the others have their own groups."""
        self._has_ended()
        self.process.send_signal(number)

    def ends(self, code: int, *, at_least: int = 0) -> str:
        """Wait until it ends with a code, and none of the processes below it, so many at least, is left."""
        wait_until(self._has_ended, seconds=PATIENCE_SECONDS, what="it ends")
        assert self.process.returncode == code, self.text
        assert len(self._family) >= at_least, f"only {len(self._family)} processes were seen"
        wait_until(lambda: not self.left(), what=f"its processes end: {self._family}")
        return self.text

    def left(self) -> list[psutil.Process]:
        self._has_ended()
        return [process for process in self._family.values() if _runs(process)]

    def _has_ended(self) -> bool:
        """Return whether it has, and note all processes below it: then they are not below it any more."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                self._family.setdefault(process.pid, process)
        return self.process.poll() is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        left = self.left()
        for process in (self.process, *left):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def _runs(process: psutil.Process) -> bool:
    # is_running() also says no when another process has got the number meanwhile.
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
