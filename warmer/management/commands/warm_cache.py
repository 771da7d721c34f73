"""Warm the cache: the hook to run after a deploy.

Without names every job is warmed, the required ones first, and the runs have the trigger 'deploy';
with names those jobs are, and the trigger is 'command'. Exit status: 0 every required job is
complete, 1 one is not, 2 usage, 3 out of time.
"""

from __future__ import annotations

import json
import logging
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, DjangoHelpFormatter
from django.db import DatabaseError

from warmer import history, tasks
from warmer.batching import Batches
from warmer.costs import past_cost
from warmer.exceptions import StoreUnavailable, UnknownJob
from warmer.management.terminal import ProgressBar, table, without_tracebacks
from warmer.management.watching import Watch, chosen_specs, deadline_after
from warmer.models import State, Trigger, WarmingRun
from warmer.report import Outcome, Report, describe
from warmer.spec import JobSpec

INCOMPLETE, USAGE, OUT_OF_TIME = 1, 2, 3


class _HelpFormatter(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Keep the lines of the description as they are written."""


class Command(BaseCommand):
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
                self._print(_listed(specs), as_json=options["json"])
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
        plans = [_planned(spec) for spec in specs]
        if options["json"]:
            self._print([plan.row | plan.details for plan in plans], as_json=True)
            return
        self._print([plan.row for plan in plans], as_json=False)
        for plan in plans:
            self._print_failed(plan.report)
        self._say(options, "\nNothing was written. The seconds are estimated from past runs.")

    def _warm(self, specs: list[JobSpec], options: dict[str, Any]) -> None:
        for spec in {spec.cache: spec for spec in specs}.values():
            spec.store.ping()
        on_workers = self._is_for_workers(specs, options)
        watch = Watch(
            specs=specs,
            trigger=Trigger.COMMAND if options["jobs"] else Trigger.DEPLOY,
            only_missing=options["only_missing"],
            deadline=deadline_after(options["timeout"]),
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
            with without_tracebacks("warmer.execution") if in_short else nullcontext():
                watch.execute_here()
        self._conclude(watch, options)

    def _is_for_workers(self, specs: list[JobSpec], options: dict[str, Any]) -> bool:
        if options["inline"]:
            return False
        for queue in sorted({spec.queue for spec in specs}):
            found = tasks.find_workers(queue)
            if found.names:
                continue
            if options["workers"] or options["no_wait"]:
                flag = "--workers" if options["workers"] else "--no-wait"
                raise CommandError(
                    f"{flag}: {found.problem}. Nothing was warmed. Start 'celery -A PROJECT worker'.",
                    returncode=INCOMPLETE,
                )
            self._say(options, f"Warming in this process: {found.problem}.")
            return False
        return bool(specs)

    def _conclude(self, watch: Watch, options: dict[str, Any]) -> None:
        runs = {run.job: run for run in watch.runs}
        status = 0 if options["no_wait"] else _status(watch, runs)
        rows = [_row(spec, runs.get(spec.name)) for spec in watch.specs]
        if options["json"]:
            details = [row | _failures(runs.get(row["job"])) for row in rows]
            self.stdout.write(json.dumps({"status": status, "jobs": details}, indent=2))
        else:
            self.stdout.write("")
            # A run's number is a name: its digits are not grouped.
            self._print([row | {"run": row["run"] and str(row["run"])} for row in rows], as_json=False)
            self._print_failures(runs.values())
        if status == OUT_OF_TIME:
            go_on = not all(run.is_final for run in runs.values())
            rest = "Runs that have not ended go on elsewhere: see the ledger in the admin"
            none = "What was not begun by then is as it was: give it a longer --timeout"
            raise CommandError(f"Out of time. {rest if go_on else none}.", returncode=OUT_OF_TIME)
        if status:
            names = ", ".join(
                spec.name for spec in watch.specs if spec.required and not _is_complete(runs.get(spec.name))
            )
            raise CommandError(f"Not complete, though required: {names}.", returncode=status)

    def _print(self, rows: list[dict[str, Any]], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(rows, indent=2))
        elif rows:
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


def _listed(specs: list[JobSpec]) -> list[dict[str, Any]]:
    last = history.last_runs(spec.name for spec in specs)
    return [
        {
            "job": spec.name,
            "key": str(spec.key),
            "required": "yes" if spec.required else "no",
            "every": str(spec.every) if spec.every else "not scheduled",
            "timeout": str(spec.timeout),
            "cache": spec.cache,
            "queue": spec.queue,
            "last run": last[spec.name].state if spec.name in last else "never",
        }
        for spec in specs
    ]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a warm of one job would do.

    Attributes:
        row: what is shown of it.
        report: what is known already: the ids that cannot be part of a key fail.
    """

    row: dict[str, Any]
    report: Report

    @property
    def details(self) -> dict[str, Any]:
        return {"failures": [asdict(failure) for failure in self.report.failures]}


def _planned(spec: JobSpec) -> _Plan:
    batches = Batches(spec)
    keys = count = 0
    try:
        for batch in batches:
            keys += len(batch)
            count += 1
    except (DatabaseError, StoreUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 - the declared ids are the project's own
        raise CommandError(
            f"The ids of {spec.name} could not be found: {describe(error)}. Nothing was planned.",
            returncode=INCOMPLETE,
        ) from None
    past = past_cost(spec.name, keyed=spec.keyed)
    queries = count * (past.queries_per_batch if past else 1) + batches.report.queries
    row = {
        "job": spec.name,
        "keys": keys,
        "batches": count,
        "failed": batches.report.failed,
        "queries": round(queries),
        "seconds": keys * past.seconds_per_key if past else None,
    }
    return _Plan(row=row, report=batches.report)


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


def _status(watch: Watch, runs: dict[str, WarmingRun]) -> int:
    required = [runs.get(spec.name) for spec in watch.specs if spec.required]
    if any(run is not None and run.is_final and not _is_complete(run) for run in required):
        return INCOMPLETE if not watch.is_out_of_time else OUT_OF_TIME
    return 0 if all(map(_is_complete, required)) else OUT_OF_TIME


def _is_complete(run: WarmingRun | None) -> bool:
    return run is not None and run.state == State.COMPLETE


def _timeout(text: str) -> timedelta:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 10**6:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return timedelta(seconds=seconds)
