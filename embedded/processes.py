"""Start processes in their own groups, and end them with all their children."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

GUARD = Path(__file__).with_name("guard.py")
KILL_SECONDS = 10.0


class EmbeddedError(Exception):
    """A server or process could not start, or ended. The message names it and says what to do."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One way to ask a process to stop, and how long it may take before the next one."""

    signal: signal.Signals
    seconds: float


POLITELY = (Ask(signal=signal.SIGTERM, seconds=10),)


class ProcessGroup(subprocess.Popen[bytes]):
    """A command in its own session, so that Ctrl-C reaches only us.

    If this process dies before it calls `end`, a guard (`guard.py`) ends the group.

    Args:
        folder: a temporary folder, which the guard removes too.
        options: further options of `Popen`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        output: IO[bytes] | int,
        folder: Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        words = [str(os.getpid()), str(self.pid), *([str(folder)] if folder else [])]
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARD, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            close_fds=False,  # the supervisor's lock of its folder lasts until the guard has cleaned up
            cwd="/",
        )

    def end(self, asks: Sequence[Ask] = POLITELY) -> int:
        """End the process and everything in its group; return its exit code.

        Args:
            asks: sent in turn, to the process alone. Whatever is left of the group is then killed.
        """
        for ask in asks:
            self.send_signal(ask.signal)
            self.send_signal(signal.SIGCONT)  # in case it is paused
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(ask.seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self.wait(KILL_SECONDS)
        self._guard.kill()
        self._guard.wait(KILL_SECONDS)
        return code


def describe_exit(code: int) -> str:
    """Describe an exit code."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
