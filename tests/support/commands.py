"""Management commands as a shell sees them."""

import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command

from tests.support.fixtures import ROOT


class Terminal(io.StringIO):
    """An output that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit status, what it printed, and the error of a failed one."""

    status: int
    out: str
    error: str


def execute(name: str, *args: str, output: type[io.StringIO] = io.StringIO, **options: Any) -> Ended:
    out = output()
    try:
        call_command(name, *args, stdout=out, stderr=out, **options)
    except CommandError as error:
        return Ended(status=error.returncode, out=out.getvalue(), error=str(error))
    return Ended(status=0, out=out.getvalue(), error="")


def ended(name: str, *args: str) -> tuple[int, str]:
    """Run a command; return its exit status, and everything that was printed."""
    done = execute(name, *args)
    return done.status, f"{done.out}{done.error}"


def program(name: str, *args: str) -> subprocess.Popen[str]:
    """Start a command as a process that Ctrl-C ends."""
    return subprocess.Popen(
        [sys.executable, "manage.py", name, *args],
        cwd=ROOT,
        env=os.environ | {"DJANGO_ENV": "test"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, it would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
