"""One process of the supervisor: its output goes to the console, its end is noticed."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from embedded.console import Console
from embedded.processes import POLITELY, Ask, finish, spawn

LAST_LINES = 20
# What still holds the pipe after the process has ended is being killed: then the reader ends too.
READER_SECONDS = 2


class Child:
    """A running command.

    Args:
        asks: how to ask it to stop.
        quiet: keep its lines for a failure instead of showing them.
    """

    def __init__(
        self,
        *,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        console: Console,
        asks: Sequence[Ask] = POLITELY,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self._asks = asks
        self._console = console
        self._quiet = quiet
        self._tail: deque[str] = deque(maxlen=LAST_LINES)
        self._process = spawn(command, output=subprocess.PIPE, env=env, cwd=cwd)
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """Return how the process ended; None while it runs."""
        return self._process.poll()

    def last_lines(self) -> list[str]:
        """Return the end of its output."""
        if self.exit_code is not None:
            self._reader.join(READER_SECONDS)
        return list(self._tail)

    def stop(self, hurried: Callable[[], bool]) -> int:
        """End the process and everything in its group; its last lines are shown before this returns."""
        code = finish(self._process, asks=self._asks, hurried=hurried)
        self._reader.join(READER_SECONDS)
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                self._tail.append(line)
                if not self._quiet:
                    self._console.line(self.name, line)
