"""Execute a run in this process, with its row in the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from warmer import runs
from warmer.declarations.spec import JobSpec
from warmer.filling import pipeline
from warmer.filling.batch import Interrupts
from warmer.filling.batches import Batches
from warmer.keys import Batch
from warmer.models import Trigger, WarmingRun
from warmer.report import Report, describe

logger = logging.getLogger(__name__)

# How often a run in one process tells the ledger how far it is: an operator sees it get on.
COUNT_SECONDS = 0.25
# How long a run goes on without a look whether it was cancelled: many quick batches, or one that is not.
LOOK_SECONDS = 0.05


class Wanted(Iterator[Batch]):
    """The batches of a run that has begun, for as long as it is wanted: not cancelled, and in time.

    Attributes:
        is_cancelled, is_late: why it gave no further one.
    """

    def __init__(self, run: WarmingRun, batches: Iterator[Batch], *, deadline: float | None = None) -> None:
        self.is_cancelled = self.is_late = False
        self._run = run
        self._batches = batches
        self._deadline = deadline
        self._looked_at = time.monotonic()

    def __next__(self) -> Batch:
        batch = next(self._batches)
        now = time.monotonic()
        self.is_late = self._deadline is not None and now >= self._deadline
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self.is_cancelled = not runs.is_current(self._run)
        if self.is_late or self.is_cancelled:
            raise StopIteration
        return batch


def warm_here(
    spec: JobSpec,
    run: WarmingRun,
    batches: Iterator[Batch],
    *,
    worker: str = "",
    progress: Callable[[Report], None] | None = None,
    interrupts: Interrupts = (),
) -> int:
    """Load and write batches of a run that has begun, and count each; return how many there were.

    Args:
        worker: the name of this process for the ledger.
        progress: called with the report of each batch.
        interrupts: errors that end the work, see `runner.warm_batch`.
    """
    reports = pipeline.warm_batches(
        spec, batches, keep_seconds=keep_seconds(spec, run), interrupts=interrupts
    )
    number, told_at = 0, time.monotonic()
    uncounted: dict[int, Report] = {}
    try:
        for number, report in enumerate(reports, start=1):
            uncounted[number] = report
            if progress is not None:
                progress(report)
            if time.monotonic() - told_at >= COUNT_SECONDS:
                runs.record_batches(run, uncounted, worker=worker)
                uncounted, told_at = {}, time.monotonic()
    finally:  # also of a run whose ids fail half way
        if uncounted:
            runs.record_batches(run, uncounted, worker=worker)
    return number


def keep_seconds(spec: JobSpec, run: WarmingRun) -> float | None:
    """Return how long a key must live yet for a run to leave it alone; None: the run leaves none alone."""
    if run.only_missing:
        return 0.0
    if run.trigger == Trigger.SCHEDULE and spec.refresh_below is not None:
        return spec.refresh_below * spec.timeout.total_seconds()
    return None


def execute(
    spec: JobSpec,
    run: WarmingRun,
    *,
    worker: str = "",
    deadline: float | None = None,
    progress: Callable[[Report], None] | None = None,
) -> None:
    """Execute a run that was opened, in this process, and bring it to its end in the ledger.

    A run that is cancelled meanwhile ends before its next batch.

    Args:
        worker: the name of this process for the ledger.
        deadline: the `time.monotonic()` after which no further batch is begun.
        progress: called with the report of each batch.
    """
    started = runs.start(run.pk, worker=worker)
    if started is None:
        return
    batches = Batches(spec)
    wanted = Wanted(started, batches, deadline=deadline)
    ended = False
    try:
        number = warm_here(spec, started, wanted, worker=worker, progress=progress)
        if wanted.is_late:
            runs.fail(started, f"It was stopped before batch {number + 1}: out of time.")
        elif not wanted.is_cancelled:
            runs.expect(started, batches=number, report=batches.report)
        ended = True
    except Exception as error:  # of the declared ids: a loader's errors are counted in its batch
        why = f"The ids could not be found: {describe(error)}"
        logger.exception("The run %s of %s failed. %s", run.pk, spec.name, why)
        ended = runs.fail(started, why)
    finally:
        if not ended:  # interrupted by Ctrl-C, or by the end of the process
            runs.fail(started, "It was interrupted.")
