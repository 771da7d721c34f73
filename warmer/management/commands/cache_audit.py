"""Compare what is cached with what the loaders give now, and name the keys that are wrong.

Of the declared ids, all or a sample; where the cache is Redis, all means also the keys that readers
brought there. A key that changes meanwhile is not counted as wrong, and one that is not cached is missing,
not wrong. The fields that differ are named; values are never shown. The result is kept in the database.
Exit status: 0 nothing is wrong, 1 a key is wrong or could not be judged, or the cache or the database
does not serve, 2 usage.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, UnknownJob
from warmer.invalidation import captures_by_triggers
from warmer.management.checking import CheckedCommand
from warmer.management.terminal import ProgressBar, table
from warmer.management.watching import chosen_specs, count
from warmer.models import Trigger
from warmer.monitoring import audit
from warmer.monitoring.audit import Audit, UncommittedChanges
from warmer.report import describe

WRONG, USAGE = 1, 2
SHOWN = ("job", "sampled", "right", "wrong", "missing", "no_value", "changed", "failed")


class Command(CheckedCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("jobs", nargs="*", metavar="JOB", help="default: every job")
        parser.add_argument(
            "--sample",
            type=_size,
            metavar="N",
            help="N declared ids of each job, drawn at random; default: all",
        )
        parser.add_argument("--seed", type=int, metavar="NUMBER", help="draw the same sample again")
        parser.add_argument("--repair", action="store_true", help="invalidate what is wrong")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["seed"] is not None and options["sample"] is None:
            raise CommandError("--seed needs --sample: without it every key is looked at.", returncode=USAGE)
        try:
            specs = chosen_specs(options["jobs"])
        except UnknownJob as error:
            raise CommandError(str(error), returncode=USAGE) from None
        bar = ProgressBar(self.stdout)
        try:
            audits = self._audit(specs, bar, options)
        except UncommittedChanges as error:
            raise CommandError(str(error), returncode=WRONG) from None
        except StoreUnavailable as error:
            raise CommandError(
                f"{str(error).rstrip('.')}. The audit was not finished.", returncode=WRONG
            ) from None
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(
                f"The database does not serve: {describe(error)}. Is it migrated? Run 'manage.py migrate'.",
                returncode=WRONG,
            ) from None
        finally:
            bar.clear()
        self._conclude(audits, options)

    def _audit(self, specs: list[JobSpec], bar: ProgressBar, options: dict[str, Any]) -> list[Audit]:
        for spec in {spec.cache: spec for spec in specs}.values():
            spec.store.ping()
        audits: list[Audit] = []

        def progress(found: Audit) -> None:
            bar.draw(len(audits), len(specs), f"{found.job}: {count(found.sampled)}, {found.wrong} wrong")

        for spec in specs:
            audits.append(
                audit.perform(
                    spec,
                    Trigger.COMMAND,
                    sample=options["sample"],
                    seed=options["seed"],
                    repair=options["repair"],
                    progress=progress,
                )
            )
        return audits

    def _conclude(self, audits: list[Audit], options: dict[str, Any]) -> None:
        status = 0 if all(found.ok for found in audits) else WRONG
        if options["json"]:
            self.stdout.write(
                json.dumps({"status": status, "jobs": [found.as_dict() for found in audits]}, indent=2)
            )
        elif audits:
            self._print(audits, repair=options["repair"])
        else:
            self.stdout.write("No job is declared: write one with @warm in an app's warming.py.")
        if status:
            raise CommandError(_summary(audits), returncode=status)

    def _print(self, audits: list[Audit], *, repair: bool) -> None:
        columns = (*SHOWN, "repaired") if repair else SHOWN
        rows = [[*(getattr(found, name) for name in columns), found.share] for found in audits]
        self.stdout.write(table([*columns, "right share"], rows))
        for found in audits:
            if found.note:
                self.stdout.write(f"{found.job}: {found.note}")
        if not all(found.whole for found in audits):
            self.stdout.write("'at least' is at 95 % confidence, from the sample.")
        for found in audits:
            self._print_keys(found)
        if any(found.wrong for found in audits) and not captures_by_triggers():
            self.stdout.write(
                "\nDjango's signals do not tell of update(), bulk operations, raw SQL and other programs. "
                "WARMER_CAPTURE = 'triggers' captures them all (PostgreSQL, SQLite)."
            )

    def _print_keys(self, found: Audit) -> None:
        lines = [f"  {wrong.key}: {', '.join(wrong.fields)}" for wrong in found.wrong_keys]
        self._print_list(f"\n{found.job}, wrong:", lines, found.wrong)
        lines = [f"  {failure.key}: {failure.error}" for failure in found.failures]
        self._print_list(f"\n{found.job}, failed:", lines, found.failed)
        if found.error:
            self.stdout.write(f"\n{found.job}: {found.error}")

    def _print_list(self, title: str, lines: list[str], total: int) -> None:
        if lines:
            more = [f"  and {total - len(lines):,} more"] if total > len(lines) else []
            self.stdout.write("\n".join([title, *lines, *more]))


def _summary(audits: list[Audit]) -> str:
    wrong = [f"{count(found.wrong)} of {found.job}" for found in audits if found.wrong]
    unjudged = [found.job for found in audits if found.failed or found.error]
    repaired = sum(found.repaired for found in audits)
    parts = []
    if wrong:
        parts.append(f"Wrong: {', '.join(wrong)}.")
    if repaired:
        parts.append(f"Invalidated: {count(repaired)}; a read or the next run loads them anew.")
    if unjudged:
        parts.append(f"Not judged in full: {', '.join(unjudged)}.")
    return " ".join(parts)


def _size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of keys above 0")
    return size
