"""Warm the cache: the hook to run after a deploy.

Without names every job is warmed, the required ones first, and the runs have the trigger 'deploy';
with names those jobs are, and the trigger is 'command'. Exit status: 0 every required job is
complete, 1 one is not, or its cache keeps nothing, 2 usage, 3 out of time.
"""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, DjangoHelpFormatter
from django.db import DatabaseError

from warmer import tasks
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, UnknownJob
from warmer.management.checking import CheckedCommand
from warmer.management.previews import Preview, listed, planned
from warmer.management.terminal import ProgressBar, table, without_tracebacks
from warmer.management.verdict import (
    INCOMPLETE,
    OUT_OF_TIME,
    status_of,
    what_is_incomplete,
    what_was_not_stored,
)
from warmer.management.watching import Watch, chosen_specs, deadline_after, seconds_left
from warmer.models import Trigger, WarmingRun
from warmer.report import Outcome, Report, describe

USAGE = 2


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Keep the lines of the description as they are written."""


class Command(CheckedCommand):
    """Warm jobs, on the workers or in this process, and say what happened to every key."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = _HelpFormatter
        parser.add_argument("jobs", nargs="*", metavar="JOB", help="default: every job")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--inline", action="store_true", help="in this process")
        where.add_argument("--workers", action="store_true", help="on the workers; fail if none answers")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--list", action="store_true", help="list the jobs, and end")
        what.add_argument("--dry-run", action="store_true", help="say what a warm would do, and end")
        what.add_argument("--no-wait", action="store_true", help="ask the workers, and end")
        parser.add_argument("--timeout", type=_timeout, metavar="SECONDS", help="wait at most so long")
        parser.add_argument("--only-missing", action="store_true", help="leave keys alone that are cached")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["no_wait"] and options["inline"]:
            raise CommandError("--no-wait needs workers: it does not go with --inline.", returncode=USAGE)
        try:
            specs = chosen_specs(options["jobs"])
        except UnknownJob as error:
            raise CommandError(str(error), returncode=USAGE) from None
        try:
            if options["list"]:
                self._show(listed(specs), options)
            elif options["dry_run"]:
                self._plan(specs, options)
            else:
                self._warm(specs, options)
        except StoreUnavailable as error:
            raise CommandError(
                f"{str(error).rstrip('.')}. Nothing was warmed.", returncode=INCOMPLETE
            ) from None
        except DatabaseError as error:
            raise CommandError(
                f"The database does not serve: {describe(error)}. Is it migrated? Run 'manage.py migrate'.",
                returncode=INCOMPLETE,
            ) from None

    def _plan(self, specs: list[JobSpec], options: dict[str, Any]) -> None:
        plans = [planned(spec) for spec in specs]
        self._show(plans, options)
        if not options["json"]:
            for plan in plans:
                self._print_failed(plan.report)
        self._say(options, "\nNothing was written. The seconds are estimated from past runs.")

    def _warm(self, specs: list[JobSpec], options: dict[str, Any]) -> None:
        deadline = deadline_after(options["timeout"])
        for spec in {spec.cache: spec for spec in specs}.values():
            spec.store.ping()
        on_workers = self._is_for_workers(specs, options, deadline)
        watch = Watch(
            specs=specs,
            trigger=Trigger.COMMAND if options["jobs"] else Trigger.DEPLOY,
            only_missing=options["only_missing"],
            deadline=deadline,
            bar=ProgressBar(self.stdout),
            say=lambda line: self._say(options, line),
        )
        if options["verbosity"] < 2:  # what the ledger logs of each run is said here already
            logging.getLogger("warmer.apps").setLevel(logging.WARNING)
        if on_workers:
            watch.ask_workers()
            if not options["no_wait"]:
                watch.await_workers()
        else:
            # What failed is said below, and is no fault of this command.
            in_short = options["verbosity"] < 2 and self.stderr.isatty()
            with without_tracebacks("warmer.runs.execution") if in_short else nullcontext():
                watch.execute_here()
        self._conclude(watch, options)

    def _is_for_workers(self, specs: list[JobSpec], options: dict[str, Any], deadline: float | None) -> bool:
        if options["inline"]:
            return False
        for queue in sorted({spec.queue for spec in specs}):
            found = tasks.find_workers(queue, within=seconds_left(deadline), one_will_do=True)
            if found.names:
                continue
            if seconds_left(deadline) == 0:
                raise CommandError(
                    f"Out of time: {found.problem}. Nothing was warmed. {found.advice}",
                    returncode=OUT_OF_TIME,
                )
            if options["workers"] or options["no_wait"]:
                flag = "--workers" if options["workers"] else "--no-wait"
                raise CommandError(
                    f"{flag}: {found.problem}. Nothing was warmed. {found.advice}",
                    returncode=INCOMPLETE,
                )
            self._say(options, f"Warming in this process: {found.problem}.")
            return False
        return bool(specs)

    def _conclude(self, watch: Watch, options: dict[str, Any]) -> None:
        runs = {run.job: run for run in watch.runs}
        status = status_of(watch, runs, waited=not options["no_wait"])
        rows = [_row(spec, runs.get(spec.name)) for spec in watch.specs]
        if options["json"]:
            details = [row | _failures(runs.get(row["job"])) for row in rows]
            self.stdout.write(json.dumps({"status": status, "jobs": details}, indent=2))
        else:
            self.stdout.write("")
            # A run's number is a name: its digits are not grouped.
            self._print([row | {"run": row["run"] and str(row["run"])} for row in rows])
            self._print_failures(runs.values())
        cold = what_was_not_stored(watch, runs)
        if status == OUT_OF_TIME:
            go_on = not all(run.is_final for run in runs.values())
            rest = "Runs that have not ended go on elsewhere: see the ledger in the admin"
            none = "What was not begun by then is as it was: give it a longer --timeout"
            raise CommandError(f"Out of time. {rest if go_on else none}.", returncode=OUT_OF_TIME)
        if status:
            raise CommandError(" ".join([what_is_incomplete(watch, runs), *cold]), returncode=status)
        for line in cold:
            self._say(options, line)

    def _show(self, previews: list[Preview], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps([preview.data for preview in previews], indent=2))
        else:
            self._print([preview.row for preview in previews])

    def _print(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.stdout.write(table(list(rows[0]), [list(row.values()) for row in rows]))
        else:
            self.stdout.write("No job is declared: write one with @warm in an app's warming.py.")

    def _print_failures(self, runs: Any) -> None:
        for run in runs:
            self._print_failed(run.report)

    def _print_failed(self, report: Report) -> None:
        for failure in report.failures:
            self.stderr.write(f"{failure.key}: {failure.error}")
        more = report.failed - len(report.failures)
        if more > 0:
            self.stderr.write(f"{report.job}: and {more:,} more failed keys")

    def _say(self, options: dict[str, Any], line: str) -> None:
        if not options["json"]:
            self.stdout.write(line)


def _row(spec: JobSpec, run: WarmingRun | None) -> dict[str, Any]:
    if run is None:
        counts = dict.fromkeys([outcome.value for outcome in Outcome])
        return {
            "job": spec.name,
            "run": None,
            "state": "not begun",
            **counts,
            "queries": None,
            "seconds": None,
        }
    return {
        "job": spec.name,
        "run": run.pk,
        "state": run.state,
        **{outcome.value: getattr(run, outcome.value) for outcome in Outcome},
        "queries": run.queries,
        "seconds": run.took,
    }


def _failures(run: WarmingRun | None) -> dict[str, Any]:
    if run is None:
        return {"error": "", "failures": []}
    return {"error": run.error, "failures": run.failures}


def _timeout(text: str) -> timedelta:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 10**6:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return timedelta(seconds=seconds)
