"""docs/operations.md, and what a person on call sees and does at a terminal: each block there is made by a test."""

import io
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from logging import LogRecord
from typing import Any
from unittest.mock import patch

from django.core.management import CommandError, call_command
from django.test import Client

from embedded.redis_server import RedisServer
from tests.support.processes import ROOT
from warmer.admin import questions
from warmer.admin.overview import overview
from warmer.stores import breaker

CacheAt = Callable[..., RedisServer]
PATH = ROOT / "docs" / "operations.md"
# What the page calls the cache's server, whichever port the test's has.
PORT = "6379"
BLOCK = r"<!-- fault: {name}: begin -->\n(.*?)<!-- fault: {name}: end -->\n"
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", flags=re.M | re.S)
DIFFERS = (
    "docs/operations.md shows something else. Where what is printed now is right: "
    "script/test tests/project/operations --write-docs"
)


class Page:
    """The page; `write` puts what is really printed into it, where that differs."""

    def __init__(self, *, write: bool) -> None:
        self._write = write
        self.server: RedisServer | None = None  # the cache's, in the state that the page is about

    def shows(self, name: str, printed: str, *, varies: Sequence[str] = ()) -> None:
        """Assert that a block of the page is what was printed, but for what the groups of patterns match."""
        printed = re.sub(rf"\b{self._port}\b", PORT, printed).strip("\n")
        expected = f"```console\n{printed}\n```\n"
        for pattern in varies:
            assert re.search(pattern, expected, flags=re.M), f"{pattern!r} is not in:\n{expected}"
        text = PATH.read_text()
        found = re.search(BLOCK.format(name=re.escape(name)), text, flags=re.S)
        assert found, f"{PATH.name} has no place for the block {name!r}"
        if self._write and _masked(found[1], varies) != _masked(expected, varies):
            PATH.write_text(text[: found.start(1)] + expected + text[found.end(1) :])
        else:
            assert _masked(found[1], varies) == _masked(expected, varies), DIFFERS

    def manage(self, line: str) -> str:
        """Run a command of `manage.py` that the page tells the reader to run; return what it prints."""
        self._tells(f"manage.py {line}")
        return manage(line)

    def redis_cli(self, line: str) -> Any:
        """Do what a line for `redis-cli` on the page does; return the server's answer."""
        self._tells(f"redis-cli -h 127.0.0.1 -p {PORT} {line}")
        assert self.server is not None
        with self.server.client() as client:
            return client.execute_command(*shlex.split(line))

    def _tells(self, command: str) -> None:
        assert command in _commands(), f"{PATH.name} does not tell: {command}"

    @property
    def _port(self) -> str:
        assert self.server is not None
        return str(self.server.port)


def _commands() -> list[str]:
    """Return the commands of the page, without the comments behind them."""
    lines = [line for block in COMMANDS.findall(PATH.read_text()) for line in block.splitlines()]
    return [re.sub(r" +# .*", "", line) for line in lines]


def _masked(text: str, varies: Sequence[str]) -> str:
    for pattern in varies:
        text = re.sub(pattern, _mask, text, flags=re.M)
    return text


def _mask(found: re.Match[str]) -> str:
    text, start = found[0], found.start()
    for group in range(found.re.groups, 0, -1):
        begin, end = found.start(group) - start, found.end(group) - start
        text = f"{text[:begin]}~{text[end:]}"
    return text


# -- the terminal --------------------------------------------------------------------------------------
# A part of a command's output goes on in lines that are indented so far.
INDENT = " " * 11


def manage(line: str) -> str:
    """Run `manage.py LINE`; return the line, and everything that is printed."""
    name, *words = shlex.split(line.removeprefix("manage.py "))
    out = io.StringIO()
    breaker.forget()  # a command is a process of its own
    try:
        call_command(name, *words, stdout=out, stderr=out)
    except CommandError as error:
        out.write(f"CommandError: {error}\n")
    return f"$ manage.py {line.removeprefix('manage.py ')}\n{out.getvalue()}"


def doctor(*checks: str) -> str:
    """Return what the doctor prints of checks that found something, and its last line."""
    parts = [rf"  (error|warning|info) +{check}$" for check in checks]
    return excerpt(manage("cache_doctor"), *parts, heading=r"\w.*")


def stats(*beginnings: str) -> str:
    return excerpt(manage("cache_stats"), *(rf" *{beginning}" for beginning in beginnings))


def excerpt(printed: str, *parts: str, heading: str = "") -> str:
    """Return the parts of an output that begin with patterns, verbatim; "..." is what is left out.

    The command itself is always there, and its last line when it is an error; a heading when a part
    follows it.
    """
    for part in parts:
        assert re.search(f"^{part}", printed, flags=re.M), f"{part!r} is not in:\n{printed}"
    lines = printed.strip("\n").splitlines()
    wanted = _wanted(lines, parts, heading)
    kept: list[str] = []
    for number, line in enumerate(lines):
        if number in wanted:
            kept.append(line)
        elif line.strip() and kept[-1] != "...":
            kept.append("...")
        elif not line.strip() and {number - 1, number + 1} <= wanted:
            kept.append("")
    return "\n".join(kept)


def _wanted(lines: Sequence[str], parts: Sequence[str], heading: str) -> set[int]:
    wanted: set[int] = set()
    above, taking = None, False
    for number, line in enumerate(lines):
        if _begins(line, (r"\$ ", "CommandError: ")):
            wanted.add(number)
            taking = False
        elif heading and re.fullmatch(heading, line):
            above, taking = number, False
        else:
            taking = taking if line.startswith(INDENT) else _begins(line, parts)
            if taking:
                wanted |= {number} if above is None else {number, above}
    return wanted


def logged(records: Iterable[LogRecord], *loggers: str) -> str:
    """Return what loggers, or those under them, said: as the project's log has it but for the time."""
    return "\n".join(
        f"{each.levelname} {each.name}: {each.getMessage()}"
        for each in records
        if f"{each.name}.".startswith(tuple(f"{name}." for name in loggers))
    )


def curl(path: str) -> str:
    """Ask the site for an address; return what `curl` shows."""
    return f"$ curl -s localhost:8000{path}\n{Client().get(path).content.decode()}"


def states() -> dict[str, str]:
    with patch.object(questions, "PATIENCE_SECONDS", 20.0):  # the machine may be busy
        return {row.spec.name: row.state for row in overview({})["rows"]}


def _begins(line: str, patterns: Iterable[str]) -> bool:
    return any(re.match(pattern, line) for pattern in patterns)
