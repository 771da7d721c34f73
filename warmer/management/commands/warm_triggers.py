"""Install the database triggers that record changes; or check, print, narrow or remove them.

'manage.py migrate' installs them too. Installing never reduces what they record, because another release or
service may need it. They require PostgreSQL or SQLite; see WARMER_CAPTURE.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import connections

from warmer import invalidation
from warmer.doctor.checks.jobs import without_table
from warmer.invalidation import captures_by_triggers, triggers
from warmer.management.base import WarmerCommand


class Command(WarmerCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--database", choices=list(connections), help="default: every database")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--check", action="store_true", help="only report; exit 1 if a trigger is missing")
        what.add_argument("--sql", action="store_true", help="print the SQL that installs missing triggers")
        what.add_argument("--prune", action="store_true", help="remove what this project does not need")
        what.add_argument("--remove", action="store_true", help="remove every trigger of warmer")

    def handle(self, *args: Any, **options: Any) -> None:
        databases = [alias for alias in triggers.databases() if options["database"] in (None, alias)]
        unanswered = {} if options["database"] else invalidation.backlog().unanswered
        lost = [alias for alias in triggers.unrecorded() if options["database"] in (None, alias)]
        if not (databases or unanswered or lost):
            needs = "use PostgreSQL or SQLite, and run 'manage.py migrate' first"
            raise CommandError(f"No database can capture changes by triggers: {needs}.")
        if not captures_by_triggers() and not (options["remove"] or options["check"]):
            raise CommandError("WARMER_CAPTURE is not 'triggers': set it first, or use --remove.")
        captured = [self._handle_one(alias, options) for alias in databases]
        if unanswered:
            whys = "; ".join(f"{alias!r} ({why})" for alias, why in unanswered.items())
            raise CommandError(f"Nothing was done on the databases that do not answer: {whys}.")
        if lost:
            raise CommandError("\n".join(f"{each.message} {each.fix}" for each in map(without_table, lost)))
        if not all(captured):
            first = "" if captures_by_triggers() else "set WARMER_CAPTURE = 'triggers', and "
            raise CommandError(f"Some changes are not captured: {first}run 'manage.py warm_triggers'.")

    def _handle_one(self, alias: str, options: dict[str, Any]) -> bool:
        """Handle one database; return whether `--check` found nothing missing."""
        if options["sql"]:
            self.stdout.write(triggers.script(alias) or f"-- {alias}: no trigger is missing\n", ending="")
            return True
        if options["check"]:
            problems = triggers.problems(alias)
            for line in [f"{each.table} {each.why}" for each in problems] or ["every table is captured"]:
                self.stdout.write(f"{alias}: {line}")
            return not problems
        if options["remove"]:
            done, tables = "removed the triggers of", triggers.remove(alias)
        elif options["prune"]:
            done, tables = "narrowed or removed the triggers of", triggers.prune(alias)
        else:
            done, tables = "installed triggers on", triggers.catch_up(alias)
        self.stdout.write(f"{alias}: {done} {', '.join(tables)}" if tables else f"{alias}: nothing to do")
        return True
