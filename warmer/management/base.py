"""Shared by the commands: checks, one-line errors, arguments, tables and a progress bar."""

from __future__ import annotations

import json
import math
import shutil
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DatabaseError, InterfaceError, ProgrammingError

from warmer import invalidation
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, UnknownJob, WarmerError
from warmer.humanize import duration, percent
from warmer.invalidation.records import written
from warmer.report import describe
from warmer.stores import why_unusable

FAILED, USAGE = 1, 2
BAR_WIDTH = 24
# The prefixes of the names of columns with a share of 0 to 1.
SHARES = ("share", "hit_rate")
MIGRATE = "Have you run 'manage.py migrate'?"
DOCTOR = "See 'manage.py cache_doctor'."
NO_JOBS = "No jobs are declared: add one with @warm in an app's warming.py."


class WarmerCommand(BaseCommand):
    """A command that reports an unusable cache, an error of warmer or a database error in one line.

    Attributes:
        undone: what an unavailable cache left undone, for the message.
    """

    undone = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return a parser that accepts no abbreviated options: `--inlin` may be a typo for another one."""
        return super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Run the system checks.

        Raises:
            CommandError: a cache cannot be used. Django's checks would end in a traceback.
        """
        for alias, options in settings.CACHES.items():
            if why := why_unusable(alias):
                text = f"The cache {alias!r} ({options.get('BACKEND')}) cannot be used: {why}."
                raise CommandError(f"{text} {DOCTOR}")
        super().check(*args, **kwargs)

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command; report errors that an operator can fix in one line each."""
        try:
            return super().execute(*args, **options)
        except StoreUnavailable as error:
            raise CommandError(f"{str(error).rstrip('.')}. {self.undone}".strip()) from None
        except WarmerError as error:
            status = USAGE if isinstance(error, UnknownJob) else FAILED
            raise CommandError(str(error), returncode=status) from None
        except (DatabaseError, InterfaceError) as error:
            # SQLite has no error of its own for a missing table or column.
            unknown = ("no such table", "no such column", "has no column")
            is_missing = isinstance(error, ProgrammingError) or any(text in str(error) for text in unknown)
            hint = f" {MIGRATE}" if is_missing else ""
            raise CommandError(f"Database error: {describe(error).rstrip('.?')}. {DOCTOR}{hint}") from None

    def print_json(self, data: Any) -> None:
        """Print data as JSON."""
        self.stdout.write(json.dumps(data, indent=2))

    def print_rows(
        self, rows: Sequence[Mapping[str, Any]], *, hidden: Collection[str] = (), empty: str = NO_JOBS
    ) -> None:
        """Print rows as a table with their keys as its header."""
        self.stdout.write(readable_table(rows, hidden=hidden) if rows else empty)


def migrate_hint() -> str:
    """Return the question whether the databases are migrated, if none of them has warmer's tables."""
    backlog = invalidation.backlog()
    is_known = backlog.answered or backlog.unanswered or any(map(invalidation.is_read_only, written()))
    return "" if is_known else f" {MIGRATE}"


class ProgressBar:
    """A progress bar on one line of a terminal; draws nothing elsewhere."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream
        self._drawn = False
        self._is_terminal = bool(stream.isatty())

    def draw(self, done: int, total: int | None, text: str) -> None:
        """Show how much is done; `total` is None while it is unknown."""
        if not self._is_terminal:
            return
        filled = min(BAR_WIDTH, BAR_WIDTH * done // total) if total else 0
        bar = "#" * filled + "-" * (BAR_WIDTH - filled)
        width = shutil.get_terminal_size().columns - 1
        self._write(f"[{bar}] {text}"[:width])
        self._drawn = True

    def clear(self) -> None:
        """Remove the bar, so that the next output starts on a clean line."""
        if self._drawn:
            self._write("")
            self._drawn = False

    def _write(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}", ending="")
        self._stream.flush()


def readable_table(rows: Sequence[Mapping[str, Any]], *, hidden: Collection[str] = ()) -> str:
    """Return plain data as a table, with formatted `_seconds` and shares, and "yes" and "no"."""
    names = [name for name in rows[0] if name not in hidden]
    header = [name.removesuffix("_seconds") for name in names]
    return table(header, [[_readable(name, row[name]) for name in names] for row in rows])


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as aligned text, with numbers on the right and None as an empty cell."""
    columns = []
    for name, *cells in zip(header, *rows, strict=True):
        is_numeric = all(isinstance(cell, int | float | None) for cell in cells)
        texts = [name, *map(_cell, cells)]
        width = max(map(len, texts))
        aligned = [text.rjust(width) if is_numeric else text.ljust(width) for text in texts]
        columns.append([aligned[0], "-" * width, *aligned[1:]])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def chosen_specs(names: list[str]) -> list[JobSpec]:
    """Return the named jobs, or all of them, the required ones first.

    Raises:
        UnknownJob: no job has one of the names.
    """
    specs = [jobs[name].spec for name in dict.fromkeys(names)] if names else jobs.specs()
    return sorted(specs, key=lambda spec: not spec.required)


def number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    """Return a parser of a number within limits, with or without thousands separators (`1,000`, `1_000`)."""

    def parse(text: str) -> float:
        try:
            value = kind(text.replace(",", ""))
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            what = "an integer" if kind is int else "a number"
            raise ArgumentTypeError(f"{text!r} is not {what} from {least:g} to {most:,}")
        return value

    return parse


def _readable(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is not None and name.endswith("_seconds"):
        return duration(value)
    return percent(value) if value is not None and name.startswith(SHARES) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
