"""What a person on call sees and does at a terminal, as text."""

import io
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from logging import LogRecord
from unittest.mock import patch

from django.core.management import CommandError, call_command
from django.test import Client

from embedded.redis_server import RedisServer
from warmer.admin import questions
from warmer.admin.overview import overview
from warmer.stores import breaker

CacheAt = Callable[..., RedisServer]
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
    """Return the lines of the statistics that begin so."""
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
