"""Base class of the servers that we start: a folder with a log, a start, and an end."""

import os
import pwd
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from embedded.processes import POLITELY, Ask, EmbeddedError, ProcessGroup, describe_exit
from embedded.waiting import wait_until

LOG_NAME = "server.log"


class Server(ABC):
    """A server in a folder.

    Args:
        folder: the folder for its data and log; by default a temporary folder, which `stop` removes.
    """

    asks: ClassVar[tuple[Ask, ...]] = POLITELY

    def __init__(self, folder: Path | None = None) -> None:
        self._is_temporary = folder is None
        self._folder = folder
        self._process: ProcessGroup | None = None
        self._options: dict[str, Any] = {}  # of `Popen`

    @property
    def folder(self) -> Path:
        """Return the folder of a started server."""
        if self._folder is None:
            raise EmbeddedError(
                f"{type(self).__name__} has no folder and no address yet: call start() first."
            )
        return self._folder

    def start(self) -> Self:
        """Start the server, unless it runs, and wait until it answers.

        Raises:
            EmbeddedError: its program is not installed, or did not start; the message shows its last lines.
        """
        if self.is_running:
            return self
        if self._folder is None:
            # Not TMPDIR: a socket's path is limited to 104 bytes, and the host of a URL is lowercase.
            self._folder = Path(tempfile.mkdtemp(prefix="warmer-", dir="/tmp"))
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server as an operator would, and remove its temporary folder."""
        self._end(self.asks)
        if self._is_temporary and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def is_running(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of a process that we did not stop; None while it runs."""
        return None if self._process is None else self._process.poll()

    def last_lines(self, count: int = 10) -> list[str]:
        """Return the end of the server's log."""
        text = (self.folder / LOG_NAME).read_text(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _start(self) -> None:
        """Call `_launch`, after any preparations."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether our process answers."""

    def _launch(self, command: Sequence[str]) -> None:
        """Start the process, and wait until it answers; raise if it ends or does not answer in time."""
        self._end(())
        self._process = self._spawn(command)
        try:
            wait_until(lambda: not self.is_running or self._answers(), what=f"{command[0]} answers")
        except TimeoutError as error:
            raise self._failed(str(error)) from None
        if not self.is_running:
            raise self._failed(f"{command[0]} did not start.")

    def _spawn(self, command: Sequence[str]) -> ProcessGroup:
        temporary = self.folder if self._is_temporary else None
        with (self.folder / LOG_NAME).open("ab") as log:
            return ProcessGroup(command, output=log, folder=temporary, cwd=self.folder, **self._options)

    def _drop_root(self) -> bool:
        """If we are root, run the server as `nobody`, in a folder of that user; return whether we are."""
        if os.geteuid() != 0:
            return False
        nobody = pwd.getpwnam("nobody")
        os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self._options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        return True

    def _end(self, asks: Sequence[Ask]) -> None:
        if self._process is not None:
            self._process.end(asks)
            self._process = None

    def _failed(self, what: str) -> EmbeddedError:
        end = "" if self.exit_code is None else f" It ended with {describe_exit(self.exit_code)}."
        lines = "".join(f"\n  {line}" for line in self.last_lines())
        return EmbeddedError(f"{what}{end} Its last lines:{lines or ' none'}")


def find_program(name: str, variable: str, package: str, pattern: str) -> Path:
    """Return the program that a variable names, by its path or its folder, or the one in a wheel.

    Args:
        package: the wheel's package; it is not imported, which may create folders.
        pattern: where the program is in the package: the wheel is for a single platform.

    Raises:
        EmbeddedError: the program is not there. The message says how to get it.
    """
    if given := os.environ.get(variable, ""):
        if found := shutil.which(given) or shutil.which(name, path=given):
            return Path(found)
        raise EmbeddedError(
            f"{variable} is {given!r}, where there is no executable {name}. Correct it, or unset it."
        )
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for program in Path(folder).glob(f"{pattern}/{name}"):
            return program
    raise EmbeddedError(
        f"No {name} was found. Run `pip install {package.replace('_', '-')}` (part of requirements-dev.txt), "
        f"or set {variable} to where it is."
    )
