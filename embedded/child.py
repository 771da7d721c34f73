"""The supervisor's processes, and the console that shows the output of all of them."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from embedded.processes import POLITELY, Ask, ProcessGroup

ROOT = Path(__file__).resolve().parent.parent
LAST_LINES = 20
LABEL_WIDTH = 7
# Time for the reader to end after the process: the rest of its group, which holds the pipe, is being killed.
READER_SECONDS = 2

_console = threading.Lock()


def say(text: str, stream: TextIO | None = None) -> None:
    """Write whole lines from any thread, by default to standard output."""
    stream = stream or sys.stdout
    with _console:
        try:
            print(text, file=stream, flush=True)
        except BrokenPipeError:  # nobody reads on, as in `script/server | head`: stop everything
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the project: a step that runs and exits, or a service that runs until we stop it."""

    name: str
    words: tuple[str, ...]
    title: str = ""  # of a step, on the console
    required: bool = True  # stop everything if the step fails
    ready: str = ""  # the end of the line that a service prints when it is ready
    asks: tuple[Ask, ...] = POLITELY


class Child:
    """A running command, whose output goes to the console."""

    def __init__(self, command: Command, environment: Mapping[str, str]) -> None:
        self.command = command
        self.is_ready = not command.ready
        self._environment = environment
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
        code = self._process.end(self.command.asks)
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
                say(f"{self.command.name:<{LABEL_WIDTH}}| {line}".rstrip())
