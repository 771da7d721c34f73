"""Other processes: programs that run to their end, or in the background until a block ends."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from django.db import connection

from embedded.processes import ProcessGroup
from embedded.waiting import SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[2]
# A bound for a program that takes some seconds, on a machine that is busy with other things.
COMMAND_SECONDS = 180


def run(*command: object, seconds: float = COMMAND_SECONDS, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which must come in so many seconds; `options` are those of `subprocess.run`."""
    defaults = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "capture_output": True}
    return subprocess.run(list(map(str, command)), text=True, timeout=seconds, check=False, **defaults | options)


def run_code(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code to its end in a process of its own, on the database of the test."""
    return run(sys.executable, "-c", code, env=environment(**variables))


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process of the project on the database of the test."""
    return os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings", "DATABASE_URL": database_url()} | variables


def database_url() -> str:
    """Return the address of the database that this test uses, for other processes.

    In a test with `transactional_db` they see what it saves, and it reads what they save. Works with a SQLite
    file (in WAL mode, as in development) and with PostgreSQL (`--database=postgresql`).
    """
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


@dataclass(kw_only=True)
class Running:
    """A process in the background, whose output is in a file."""

    group: ProcessGroup
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, count: int = 1) -> None:
        """Wait until the output contains a string this many times; fail with the output otherwise."""

        def holds() -> bool:
            found = self.output().count(text) >= count
            assert found or self.group.poll() is None, f"It ended:\n{self.output()}"
            return found

        try:
            wait_until(holds, what=f"it prints {text!r}")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None


@contextmanager
def running(
    *command: object, log: Path, env: Mapping[str, str], ready: str = "", cwd: Path = ROOT
) -> Iterator[Running]:
    """Run a program, whose output is appended to a log, from when it prints that it is ready until the block ends."""
    with log.open("ab") as output:
        process = Running(group=ProcessGroup(list(map(str, command)), output=output, env=env, cwd=cwd), log=log)
    try:
        process.wait_for(ready)
        yield process
    finally:
        process.group.end()


class Actors:
    """Python processes that say "ready", begin when they are sent a line, and print their result as JSON."""

    def __init__(self, commands: Sequence[Sequence[object]], *, env: Mapping[str, str] | None = None) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.processes: list[Any] = [
            subprocess.Popen([sys.executable, *map(str, each)], cwd=ROOT, env=env, text=True, **pipes)
            for each in commands
        ]

    def __enter__(self) -> Self:
        try:
            for process in self.processes:
                assert process.stdout.readline() == "ready\n"
        except BaseException:
            self.__exit__()
            raise
        return self

    def go(self) -> None:
        for process in self.processes:
            process.stdin.write("go\n")
            process.stdin.flush()

    def result(self, number: int, seconds: float = SECONDS) -> Any:
        """Close the input of one, which ends those that go on for ever; return its result."""
        process = self.processes[number]
        out, _ = process.communicate(timeout=seconds)
        assert process.returncode == 0, f"{process.args} ended with {process.returncode}"
        return json.loads(out.splitlines()[-1])

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            with process:
                process.kill()
