"""Install the database triggers that record changes, or check, print, narrow or remove them.

They are installed after every migrate, too. Installing only widens what they record: another release or
another service may need more. PostgreSQL and SQLite have them; see WARMER_CAPTURE.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import connections

from warmer.exceptions import TriggersRefused
from warmer.invalidation import captures_by_triggers, triggers
from warmer.management.checking import CheckedCommand


class Command(CheckedCommand):
    """Install, check, print, narrow or remove triggers."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--database", choices=list(connections), help="only this database")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--check", action="store_true", help="change nothing; exit 1 when a table lacks a trigger"
        )
        what.add_argument(
            "--sql", action="store_true", help="print the SQL that installs what is missing, for a DBA to run"
        )
        what.add_argument(
            "--prune", action="store_true", help="record only what this project needs, and remove the rest"
        )
        what.add_argument("--remove", action="store_true", help="remove every trigger of warmer")

    def handle(self, *args: Any, **options: Any) -> None:
        databases = triggers.databases()
        if options["database"] is not None:
            databases = [alias for alias in databases if alias == options["database"]]
        if not databases:
            raise CommandError(
                "No database can capture changes by triggers: it takes PostgreSQL or SQLite, and first "
                "'manage.py migrate'."
            )
        if not captures_by_triggers() and not (options["remove"] or options["check"]):
            raise CommandError("WARMER_CAPTURE is not 'triggers': set it first, or use --remove.")
        try:
            wrong = [self._handle_one(alias, options) for alias in databases]
        except TriggersRefused as error:
            raise CommandError(str(error)) from None
        if options["check"] and any(wrong):
            raise CommandError("Some changes are not captured. Run 'manage.py warm_triggers'.")

    def _handle_one(self, alias: str, options: dict[str, Any]) -> bool:
        """Do what was asked on one database; return whether `--check` found something."""
        if options["sql"]:
            self.stdout.write(triggers.script(alias) or f"-- {alias}: every trigger is there\n", ending="")
            return False
        if options["check"]:
            found = triggers.problems(alias)
            for problem in found:
                self.stdout.write(f"{alias}: {problem.table} {problem.why}")
            if not found:
                self.stdout.write(f"{alias}: every table is captured")
            return bool(found)
        if options["remove"]:
            self._report(alias, "removed the triggers of", triggers.remove(alias))
        elif options["prune"]:
            self._report(alias, "narrowed or removed the triggers of", triggers.prune(alias))
        else:
            self._report(alias, "installed triggers on", triggers.catch_up(alias))
        return False

    def _report(self, alias: str, what: str, tables: list[str]) -> None:
        self.stdout.write(f"{alias}: {what} {', '.join(tables)}" if tables else f"{alias}: nothing to do")
