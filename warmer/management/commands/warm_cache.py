"""Warm the cache: run it after every deploy.

Warms the named jobs, or all of them, required jobs first. Exit status: 0 every required job completed; 1 a
required job did not complete, or its cache stores nothing; 2 usage error; 3 timed out.
"""

import logging
import math
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.utils.text import capfirst

from warmer import tasks
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.filling.loading import Batches
from warmer.humanize import by_reason
from warmer.management.base import FAILED, USAGE, WarmerCommand, chosen_specs, number
from warmer.management.run_watcher import OUT_OF_TIME, RunWatcher
from warmer.models import Trigger, WarmingRun
from warmer.report import Outcome, describe

# How many keys are named that failed for the same reason.
NAMED = 5
# What a run counts. Its columns are empty until it has ended.
COUNTS = (*(outcome.value for outcome in Outcome), "queries")


class Command(WarmerCommand):
    help = __doc__
    undone = "Nothing was warmed."
    interrupted = "Runs on workers continue."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("jobs", nargs="*", metavar="JOB", help="default: every job")
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--inline", action="store_true", help="warm in this process")
        where.add_argument("--workers", action="store_true", help="warm on the workers; fail if none answers")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--list", action="store_true", help="list the jobs and exit")
        what.add_argument("--dry-run", action="store_true", help="show what would be warmed and exit")
        no_wait = "queue the runs and exit, even if no worker answers"
        what.add_argument("--no-wait", action="store_true", help=no_wait)
        seconds: dict[str, Any] = {"type": number(float, 0.001, 1_000_000), "metavar": "SECONDS"}
        parser.add_argument("--timeout", **seconds, help="give up after SECONDS")
        parser.add_argument("--only-missing", action="store_true", help="skip keys that are already cached")
        triggers = [Trigger.COMMAND.value, Trigger.DEPLOY.value]
        help = "the recorded trigger of the runs; default: command"
        parser.add_argument("--trigger", choices=triggers, default=triggers[0], help=help)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["no_wait"] and options["inline"]:
            raise CommandError("--no-wait needs workers: do not use it with --inline.", returncode=USAGE)
        specs = chosen_specs(options["jobs"])
        if options["list"]:
            self._list(specs, options)
        elif options["dry_run"]:
            plans = [_planned(spec) for spec in specs]
            if options["json"]:
                self.print_json(plans)
            else:
                self._print(plans)
                self.stdout.write("\nNothing was written. The last complete run gives the seconds per key.")
        else:
            self._warm(specs, options)

    def _list(self, specs: list[JobSpec], options: dict[str, Any]) -> None:
        last = WarmingRun.objects.latest_per_job(spec.name for spec in specs)
        rows = [_job_row(spec, last.get(spec.name)) for spec in specs]
        if options["json"]:
            self.print_json(rows)
        else:
            shown = [row | {"last run": (row["last_run"] or {"state": "never"})["state"]} for row in rows]
            self.print_rows(shown, hidden=["last_run"])

    def _warm(self, specs: list[JobSpec], options: dict[str, Any]) -> None:
        watcher = RunWatcher(
            specs=specs,
            trigger=Trigger(options["trigger"]),
            only_missing=options["only_missing"],
            deadline=time.monotonic() + (options["timeout"] or math.inf),
            show_progress=self.show_progress,
            say=(lambda line: None) if options["json"] else self.stdout.write,
        )
        caches = {spec.cache: spec.store for spec in specs}
        for store in caches.values():
            store.ping()  # also a node of a cluster that answers for its own slots
            store.token(())  # a server that rejects writes answers a ping
        on_workers = self._is_for_workers(watcher, options)
        for alias in caches:
            watcher.say(f"Cache: {alias} ({settings.CACHES[alias]['BACKEND'].rpartition('.')[2]})")
        log = logging.getLogger("warmer.apps")
        level = log.level
        if options["verbosity"] < 2:  # this command prints the end of each run
            log.setLevel(logging.WARNING)
        try:
            if on_workers:
                watcher.request()
            else:
                watcher.execute()
            if not options["no_wait"]:
                watcher.wait()
        finally:
            log.setLevel(level)
        self._conclude(watcher, options)

    def _is_for_workers(self, watcher: RunWatcher, options: dict[str, Any]) -> bool:
        if options["inline"]:
            return False
        for queue in sorted({spec.queue for spec in watcher.specs}):
            found = tasks.find_workers(queue)
            if found.names:
                continue
            undone = f"{capfirst(found.problem)}. {self.undone} {found.advice}"
            if watcher.is_out_of_time:
                raise CommandError(f"Out of time: {undone}", returncode=OUT_OF_TIME)
            if options["no_wait"] and found.may_work:
                watcher.say(f"The runs are queued, though {found.problem}.")
                continue
            if options["workers"] or options["no_wait"]:
                hint = " If one runs but does not answer, use --workers --no-wait." if found.may_work else ""
                raise CommandError(undone + hint)
            watcher.say(f"Warming in this process: {found.problem}.")
            return False
        return bool(watcher.specs)

    def _conclude(self, watcher: RunWatcher, options: dict[str, Any]) -> None:
        missed = watcher.incomplete(waited=not options["no_wait"])
        status = 0 if not missed else OUT_OF_TIME if watcher.is_out_of_time else FAILED
        rows = [_run_row(spec, watcher.runs.get(spec.name)) for spec in watcher.specs]
        if options["json"]:
            self.print_json({"status": status, "jobs": rows})
        else:
            self.stdout.write("")
            self._print(rows, hidden=[*COUNTS, "seconds"] if options["no_wait"] else [])
        if status == OUT_OF_TIME:
            rest = "Unfinished runs continue on the workers; jobs not yet started were left unchanged."
            raise CommandError(f"Out of time: use a longer --timeout. {rest}", returncode=status)
        if status:
            text = f"Required jobs did not complete: {', '.join(missed)}. {watcher.unstored()}"
            raise CommandError(text.strip(), returncode=status)
        if text := watcher.unstored():
            watcher.say(text)

    def _print(self, rows: list[dict[str, Any]], hidden: Sequence[str] = ()) -> None:
        """Print plans or results as a table, then the keys that fail."""
        # A run's number is an identifier, so its digits are not grouped.
        shown = [row | {"run": str(row["run"] or "")} if "run" in row else row for row in rows]
        self.print_rows(shown, hidden=["error", "failures", *hidden])
        for row in rows:
            for line in by_reason(((each["key"], each["error"]) for each in row["failures"]), at_most=NAMED):
                self.stderr.write(line)
            more = (row["failed"] or 0) - len(row["failures"])
            if more > 0:
                self.stderr.write(f"{row['job']}: and {more:,} more failed keys")


def _job_row(spec: JobSpec, last: WarmingRun | None) -> dict[str, Any]:
    run = None
    if last is not None:
        names = ("requested_at", "started_at", "finished_at")
        moments = {name: moment.isoformat() if (moment := getattr(last, name)) else None for name in names}
        run = {"run": last.pk, "state": last.state, "trigger": last.trigger, **moments, "seconds": last.took}
    return {
        "job": spec.name,
        "key": str(spec.key),
        "required": spec.required,
        "every_seconds": spec.every.total_seconds() if spec.every else None,
        "timeout_seconds": spec.timeout.total_seconds(),
        "cache": spec.cache,
        "queue": spec.queue,
        "last_run": run,
    }


def _run_row(spec: JobSpec, run: WarmingRun | None) -> dict[str, Any]:
    return {
        "job": spec.name,
        "run": run and run.pk,
        "state": run.state if run else "not started",
        **{name: run and getattr(run, name) for name in COUNTS},
        "seconds": run and run.took,
        "error": run.error if run else "",
        "failures": run.failures if run else [],
    }


def _planned(spec: JobSpec) -> dict[str, Any]:
    """Return what warming a job would do, with the ids that cannot be part of a key as failures."""
    batches = Batches(spec)
    try:
        sizes = [len(batch) for batch in batches]
    except (DatabaseError, StoreUnavailable):
        raise
    except Exception as error:  # noqa: BLE001 - the declared ids are the project's own
        text = f"The ids of {spec.name} could not be found: {describe(error)}. Nothing was planned."
        raise CommandError(text) from None
    last = WarmingRun.objects.complete_and_full(spec.name).first()
    per_key = (last.took or 0.0) / last.report.keys if last and last.report.keys else None
    return {
        "job": spec.name,
        "keys": sum(sizes),
        "batches": len(sizes),
        "failed": batches.report.failed,
        "queries": len(sizes) + batches.report.queries,
        "seconds": None if per_key is None else sum(sizes) * per_key,
        "failures": [asdict(failure) for failure in batches.report.failures],
    }
