"""The supervisor's processes, and the console that shows the output of all of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from embedded.plan import ROOT, Command
from embedded.processes import ProcessGroup

LAST_LINES = 20
LABEL_WIDTH = 7
COLOURS = ("36", "33", "35", "32", "34")  # cyan, yellow, magenta, green, blue
RED = "31"
# Time for the reader to end after the process: the rest of its group, which holds the pipe, is being killed.
READER_SECONDS = 2


class Console:
    """Writes whole lines from any thread; in colour only on a terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels: list[str] = []
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def say(self, text: str) -> None:
        """Write a message of the supervisor itself."""
        self._write(text, sys.stdout)

    def complain(self, text: str) -> None:
        """Write an error to standard error."""
        self._write(self._in_colour(RED, text), sys.stderr)

    def line(self, label: str, text: str) -> None:
        """Write one line of a process."""
        if label not in self._labels:
            self._labels.append(label)
        colour = COLOURS[self._labels.index(label) % len(COLOURS)]
        prefix = self._in_colour(colour, f"{label:<{LABEL_WIDTH}}|")
        self._write(f"{prefix} {text}".rstrip(), sys.stdout)

    def _in_colour(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text

    def _write(self, text: str, stream: TextIO) -> None:
        with self._lock:
            try:
                print(text, file=stream, flush=True)
            except OSError:
                # The terminal is gone (SIGHUP, `| head`), but stopping the processes must continue. Python
                # flushes its streams at exit, and exits with status 120 if that fails.
                with contextlib.suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Child:
    """A running command, whose output goes to the console.

    Args:
        hurried: called while waiting for the process to stop; once it returns true, the process is killed.
    """

    def __init__(
        self, command: Command, environment: Mapping[str, str], console: Console, hurried: Callable[[], bool]
    ) -> None:
        self.command = command
        self.is_ready = not command.ready
        self._environment = environment
        self._console = console
        self._hurried = hurried
        self._start()

    def restart(self) -> None:
        """Start the process again, after killing the rest of its group."""
        self._process.end(())
        self._start()

    @property
    def exit_code(self) -> int | None:
        """Return the exit code; None while the process runs."""
        return self._process.poll()

    def last_lines(self) -> list[str]:
        """Return the last lines of its output."""
        if self.exit_code is not None:
            self._reader.join(READER_SECONDS)
        return list(self._tail)

    def stop(self) -> int:
        """End the process and everything in its group, after showing its last lines; return its exit code."""
        code = self._process.end(self.command.asks, hurried=self._hurried)
        self._reader.join(READER_SECONDS)
        return code

    def _start(self) -> None:
        self._tail: deque[str] = deque(maxlen=LAST_LINES)
        self._process = ProcessGroup(
            self.command.words, output=subprocess.PIPE, env=self._environment, cwd=ROOT
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {self.command.name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                self._tail.append(line)
                self.is_ready = self.is_ready or line.endswith(self.command.ready)
                if not self.command.quiet:
                    self._console.line(self.command.name, line)
