"""Execute or await runs for a command, showing how they get on."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from os import getpid

from warmer import runs as ledger
from warmer import tasks
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.management.terminal import ProgressBar
from warmer.models import State, Trigger, WarmingRun
from warmer.report import Report
from warmer.runs import Opened
from warmer.runs.execution import execute

POLL_SECONDS = 0.2
# Where nobody reaps runs for us: a run whose worker is gone must not be awaited for ever.
REAP_SECONDS = 5.0


@dataclass(kw_only=True)
class Watch:
    """The runs of one command.

    Args:
        specs: the jobs, in the order in which they are asked for.
        trigger: what asks.
        only_missing: leave keys alone that are cached.
        deadline: the `time.monotonic()` until which to wait; None: as long as it takes.
        bar: shows the progress.
        say: prints a line.
    """

    specs: list[JobSpec]
    trigger: Trigger
    only_missing: bool
    deadline: float | None
    bar: ProgressBar
    say: Callable[[str], None]
    opened: dict[str, Opened] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)

    @property
    def runs(self) -> list[WarmingRun]:
        """The runs as they stand in the ledger, in the order of the jobs."""
        by_id = WarmingRun.objects.in_bulk([opened.run.pk for opened in self.opened.values()])
        return [by_id[opened.run.pk] for opened in self.opened.values() if opened.run.pk in by_id]

    @property
    def is_out_of_time(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def ask_workers(self) -> None:
        """Request every run from the workers, as long as there is time."""
        for spec in self.specs:
            if self.is_out_of_time:
                break
            self._took(tasks.request_run(spec.name, self.trigger, only_missing=self.only_missing))

    def await_workers(self) -> None:
        """Wait until every run has ended, or the time is up."""
        reap_at = time.monotonic() + REAP_SECONDS
        while not self.is_out_of_time:
            runs = self.runs
            for run in runs:
                if run.is_final:
                    self._tell(run)
            if all(run.is_final for run in runs):
                break
            self._draw(runs)
            time.sleep(POLL_SECONDS)
            if time.monotonic() >= reap_at:
                ledger.close_stalled()
                reap_at = time.monotonic() + REAP_SECONDS
        self.bar.clear()

    def execute_here(self) -> None:
        """Execute every run in this process, one after the other; await those that others execute."""
        worker = f"{getpid()}@{socket.gethostname()}"
        for spec in self.specs:
            if self.is_out_of_time:
                break
            opened = self._took(ledger.open_run(spec.name, self.trigger, only_missing=self.only_missing))
            if opened.run.state != State.QUEUED:
                continue
            # Also one that was queued before: without a worker nobody else would begin it.
            total = Report(job=spec.name)

            def progress(report: Report) -> None:
                nonlocal total
                total += report
                self.bar.draw(len(self.opened) - 1, len(self.specs), f"{total.job}: {count(total.keys)}")

            execute(spec, opened.run, worker=worker, deadline=self.deadline, progress=progress)
            self.bar.clear()
            opened.run.refresh_from_db()
            if opened.run.is_final:
                self._tell(opened.run)
        self.await_workers()

    def _took(self, opened: Opened) -> Opened:
        run = opened.run
        self.opened[run.job] = opened
        if opened.joined:
            less = ", and leaves keys alone that are cached" if opened.leaves_cached else ""
            self.say(f"{run.job}: joined run {run.pk} ({run.trigger}), which is under way{less}")
        return opened

    def _tell(self, run: WarmingRun) -> None:
        if run.pk in self.told:
            return
        self.told.add(run.pk)
        self.bar.clear()
        report = run.report
        error = f": {run.error}" if run.error else ""
        self.say(f"{run.job}: {run.state}, {count(report.keys)} in {run.took or 0:.2f} s{error}")

    def _draw(self, runs: list[WarmingRun]) -> None:
        ended = sum(run.is_final for run in runs)
        keys = sum(run.report.keys for run in runs)
        known = [run.batches_total for run in runs]
        done = sum(run.batches_done for run in runs)
        total = None if None in known else sum(known)  # type: ignore[arg-type]
        self.bar.draw(done, total, f"{ended} of {len(runs)} jobs, {count(keys)}")


def count(keys: int) -> str:
    """Return a number of keys in words."""
    return f"{keys:,} {'key' if keys == 1 else 'keys'}"


def deadline_after(timeout: timedelta | None) -> float | None:
    """Return the `time.monotonic()` at which a timeout ends."""
    return None if timeout is None else time.monotonic() + timeout.total_seconds()


def seconds_left(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, 0 when it has passed."""
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def chosen_specs(names: list[str]) -> list[JobSpec]:
    """Return the named jobs, or all of them, the required ones first.

    Raises:
        UnknownJob: a name is no job's.
    """
    specs = [jobs[name].spec for name in dict.fromkeys(names)] if names else jobs.specs()
    return sorted(specs, key=lambda spec: not spec.required)
