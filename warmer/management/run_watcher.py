"""Request or execute the runs of `warm_cache`, show their progress, and evaluate the result."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from warmer import runs as ledger
from warmer import tasks
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.humanize import counted
from warmer.models import State, Trigger, WarmingRun
from warmer.report import Report
from warmer.runs import Opened
from warmer.runs.execution import execute
from warmer.stores import difference, keeps_nothing

OUT_OF_TIME = 3
POLL_SECONDS = 0.2
# Without workers nothing else closes runs whose worker is gone, so do not wait for them forever.
REAP_SECONDS = 5.0


@dataclass(kw_only=True)
class RunWatcher:
    """The runs of one command, by job; `say` prints a line, and `show_progress` replaces one."""

    specs: list[JobSpec]
    trigger: Trigger
    only_missing: bool
    deadline: float  # a `time.monotonic()`
    show_progress: Callable[[str], None]
    say: Callable[[str], None]
    runs: dict[str, WarmingRun] = field(default_factory=dict)
    _reported: set[int] = field(default_factory=set)

    @property
    def is_out_of_time(self) -> bool:
        return time.monotonic() >= self.deadline

    def request(self) -> None:
        """Queue every run for the workers, until the deadline."""
        for spec in self.specs:
            if not self.is_out_of_time:
                self._add(tasks.request_run(spec.name, self.trigger, only_missing=self.only_missing))
        self._refresh()

    def execute(self) -> None:
        """Execute every run in this process, one after the other, until the deadline."""
        worker = f"{os.getpid()}@{socket.gethostname()}"
        for spec in self.specs:
            if self.is_out_of_time:
                break
            run = self._add(ledger.open_run(spec.name, self.trigger, only_missing=self.only_missing))
            if run.state != State.QUEUED or spec.name not in self.runs:
                continue
            # Also a joined run that is still queued, because without workers nothing else would start it.
            total = Report(job=spec.name)

            def progress(report: Report) -> None:
                nonlocal total
                total += report
                self.show_progress(f"{total.job}: {counted(total.keys, 'key')}")

            execute(spec, run, worker=worker, deadline=self.deadline, progress=progress)
            self._refresh()

    def wait(self) -> None:
        """Wait until every run has ended or the deadline has passed."""
        reap_at = time.monotonic() + REAP_SECONDS
        while True:
            self._refresh()
            runs = self.runs.values()
            ended = sum(run.is_final for run in runs)
            if self.is_out_of_time or ended == len(runs):
                break
            keys = counted(sum(run.report.keys for run in runs), "key")
            self.show_progress(f"{ended} of {counted(len(runs), 'job')}, {keys}")
            time.sleep(POLL_SECONDS)
            if time.monotonic() >= reap_at:
                ledger.close_stalled()
                reap_at = time.monotonic() + REAP_SECONDS
        self.show_progress("")

    def incomplete(self, *, waited: bool) -> list[str]:
        """Return the required jobs that are not complete or, if the command did not wait, not requested."""
        return [spec.name for spec in self.specs if spec.required and not self._is_done(spec, waited)]

    def unstored(self) -> str:
        """Return which jobs stored no key, if any."""
        names = ", ".join(spec.name for spec in self.specs if self._stored_nothing(spec))
        why = "changes overtook every attempt, or the cache keeps nothing; see 'manage.py cache_doctor'"
        return names and f"No key of {names} was stored: {why}."

    def _is_done(self, spec: JobSpec, waited: bool) -> bool:
        run = self.runs.get(spec.name)
        if run is None or run.state != State.COMPLETE:
            return run is not None and not run.is_final and not waited
        return not (self._stored_nothing(spec) and keeps_nothing(spec.cache))

    def _stored_nothing(self, spec: JobSpec) -> bool:
        run = self.runs.get(spec.name)
        return run is not None and 0 < run.superseded == run.report.keys

    def _add(self, opened: Opened) -> WarmingRun:
        run = opened.run
        joined = f"run {run.pk} ({run.trigger})"
        if opened.joined and (found := difference(run.cache, jobs[run.job].spec.cache)):
            self.say(f"{run.job}: {joined} has not ended, and is for another cache: {found}")
            return run
        self.runs[run.job] = run
        if opened.joined:
            self.say(f"{run.job}: joined {joined}")
        return run

    def _refresh(self) -> None:
        """Read the runs again, and report those that have ended."""
        found = WarmingRun.objects.in_bulk([run.pk for run in self.runs.values()])
        self.runs = {job: found.get(run.pk, run) for job, run in self.runs.items()}
        for run in self.runs.values():
            if run.is_final and run.pk not in self._reported:
                self._reported.add(run.pk)
                self.show_progress("")
                keys = counted(run.report.keys, "key")
                # The first key's error follows the table, as do those of other keys.
                error, first, _ = run.error.partition("; the first: ")
                error = f": {error}{'.' if first else ''}" if error else ""
                self.say(f"{run.job}: {run.state}, {keys} in {run.took or 0:.2f} s{error}")
