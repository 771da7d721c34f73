"""docs/operations.md and what is shown there: blocks of output, and commands, each made by a test."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from embedded.redis_server import RedisServer
from tests.project.operations.terminal import manage
from tests.support.processes import ROOT

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
    """The page.

    Args:
        write: put what is really printed into the page, where that differs.

    Attributes:
        server: the cache's server, in the state that the page is about.
    """

    def __init__(self, *, write: bool) -> None:
        self._write = write
        self.server: RedisServer | None = None

    def shows(self, name: str, printed: str, *, varies: Sequence[str] = ()) -> None:
        """Assert that a block of the page is what was printed.

        Args:
            name: the block is between `<!-- fault: NAME: begin -->` and `<!-- fault: NAME: end -->`.
            varies: patterns of what differs from run to run: what their groups match is not compared.
        """
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
