"""Management commands as a shell sees them."""

import io
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command


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
    """Run a command to its end, whatever that is."""
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
