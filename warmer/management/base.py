"""Shared by the commands: checks, one-line errors, arguments, tables and a line of progress."""

import io
import json
import math
import os
import shutil
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, UnknownJob, WarmerError
from warmer.humanize import duration, percent
from warmer.report import describe
from warmer.stores import why_unusable

# The last two are those of a process that SIGINT or SIGPIPE ends.
FAILED, USAGE, INTERRUPTED, UNREAD = 1, 2, 130, 141
# The prefixes of the names of columns with a share of 0 to 1.
SHARES = ("share", "hit_rate")
DOCTOR = "See 'manage.py cache_doctor'."
NO_JOBS = "No jobs are declared: add one with @warm in an app's warming.py."


class WarmerCommand(BaseCommand):
    """A command that reports an unusable cache, an error of warmer or a database error in one line."""

    undone = ""  # what an unavailable cache left undone, for the message
    interrupted = ""  # what goes on after Ctrl-C, for the message

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Run the system checks, unless a cache cannot be used: then they would end in a traceback."""
        for alias, options in settings.CACHES.items():
            if why := why_unusable(alias):
                text = f"The cache {alias!r} ({options.get('BACKEND')}) cannot be used: {why}."
                raise CommandError(f"{text} {DOCTOR}")
        super().check(*args, **kwargs)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command from a shell; neither Ctrl-C nor the end of a pipe's reader is a traceback."""
        status: Any = 0
        try:
            super().run_from_argv(argv)
        except SystemExit as exit:
            status = exit.code
        except KeyboardInterrupt:
            self.stderr.write(f"\nInterrupted. {self.interrupted}".rstrip())
            status = INTERRUPTED
        except BrokenPipeError:
            status = UNREAD
        try:
            self.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at the end
            status = status or UNREAD
        if status:
            sys.exit(status)

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command; report errors that an operator can fix in one line each."""
        if not (options["verbosity"] or options.get("json")):
            options["stdout"] = io.StringIO()  # Django's own commands print only errors, too
        try:
            return super().execute(*args, **options)
        except StoreUnavailable as error:
            raise CommandError(f"{str(error).rstrip('.')}. {self.undone}".strip()) from None
        except WarmerError as error:
            status = USAGE if isinstance(error, UnknownJob) else FAILED
            raise CommandError(str(error), returncode=status) from None
        except (DatabaseError, InterfaceError) as error:
            text = f"Database error: {describe(error).rstrip('.?')}. {DOCTOR}"
            raise CommandError(f"{text} Have you run 'manage.py migrate'?") from None

    def print_json(self, data: Any) -> None:
        self.stdout.write(json.dumps(data, indent=2))

    def print_rows(
        self, rows: Sequence[Mapping[str, Any]], *, hidden: Collection[str] = (), empty: str = NO_JOBS
    ) -> None:
        self.stdout.write(table(rows, hidden=hidden) if rows else empty)

    def show_progress(self, text: str) -> None:
        """Replace the line of progress on a terminal; an empty text removes it before other output."""
        if self.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            self.stdout.write(f"\r\x1b[K{text[:width]}", ending="")
            self.stdout.flush()


def table(rows: Sequence[Mapping[str, Any]], *, hidden: Collection[str] = ()) -> str:
    """Return rows as aligned text with their keys as its header, and numbers on the right."""
    columns = []
    for name in (name for name in rows[0] if name not in hidden):
        cells = [_readable(name, row[name]) for row in rows]
        is_numeric = all(isinstance(cell, int | float | None) for cell in cells)
        texts = [name.removesuffix("_seconds"), *map(_text, cells)]
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
    """Return a value as text if it is a time, a share, or true or false."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is not None and name.endswith("_seconds"):
        return duration(value)
    return percent(value) if value is not None and name.startswith(SHARES) else value


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.2f}"
    return "" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell
