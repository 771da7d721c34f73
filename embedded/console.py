"""Write the lines of several processes to one terminal, each with the name of its process."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TextIO

PREFIX_WIDTH = 7
COLOURS = ("36", "33", "35", "32", "34")  # cyan, yellow, magenta, green, blue


class Console:
    """Whole lines only, whichever thread they come from; in colour only on a terminal."""

    def __init__(self, stream: TextIO | None = None, errors: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._errors = errors or sys.stderr
        self._lock = threading.Lock()
        self._coloured = self._stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, str] = {}

    def say(self, text: str = "") -> None:
        """Write what the supervisor itself has to say."""
        self._write(text)

    def complain(self, text: str) -> None:
        """Write what went wrong, to standard error."""
        colour, plain = ("\x1b[31m", "\x1b[0m") if self._coloured else ("", "")
        self._write(f"{colour}{text}{plain}", self._errors)

    def line(self, name: str, text: str) -> None:
        """Write one line of a process."""
        prefix = f"{name:<{PREFIX_WIDTH}}|"
        if self._coloured:
            colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._write(f"{prefix} {text}" if text else prefix)

    def _write(self, text: str, stream: TextIO | None = None) -> None:
        stream = stream or self._stream
        # The terminal may be gone (SIGHUP, `| head`): stopping the processes must still go on.
        with self._lock, contextlib.suppress(ValueError):
            try:
                stream.write(f"{text}\n")
                stream.flush()
            except OSError:
                _to_nowhere(stream)


def _to_nowhere(stream: TextIO) -> None:
    """Let what is still in a stream's buffer go nowhere.

    Python flushes its streams when it ends, and ends with the status 120 when that fails.
    """
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
