"""Execute a run in this process, and record its progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from warmer.declarations.spec import JobSpec
from warmer.filling import pipeline
from warmer.filling.batches import Batches, ids_of
from warmer.filling.pipeline import Interrupts
from warmer.keys import Batch
from warmer.models import Trigger, WarmingRun
from warmer.report import Report, describe
from warmer.runs import lifecycle

logger = logging.getLogger(__name__)

# Seconds between progress records of a run in one process.
RECORD_SECONDS = 0.25
# How often a run checks whether it was cancelled.
CHECK_SECONDS = 0.05


def execute(
    spec: JobSpec,
    run: WarmingRun,
    *,
    worker: str = "",
    deadline: float | None = None,
    progress: Callable[[Report], None] | None = None,
) -> None:
    """Execute an open run in this process, and bring it to its end.

    A cancelled run ends before its next batch.

    Args:
        worker: the name of this process, for the record.
        deadline: the `time.monotonic()` after which only the first batch is started.
        progress: called with the report of each batch.
    """
    started = lifecycle.start(run.pk, worker=worker)
    if started is None:
        return
    batches = batches_of(spec, started)
    wanted = Wanted(started, batches, deadline=deadline)
    try:
        number = warm_here(spec, started, wanted, worker=worker, progress=progress)
        if wanted.is_late:
            lifecycle.fail(started, f"It was stopped before batch {number + 1}: out of time.")
        elif not wanted.is_cancelled:
            lifecycle.expect(started, batches=number, report=batches.report)
    except Exception as error:  # an error of the declared ids; a loader's errors are counted in its batch
        why = f"The ids could not be found: {describe(error)}"
        logger.exception("The run %s of %s failed. %s", run.pk, spec.name, why)
        lifecycle.fail(started, why)
    except BaseException:  # Ctrl-C, or the process exits
        lifecycle.fail(started, "It was interrupted.")
        raise


def batches_of(spec: JobSpec, run: WarmingRun) -> Batches:
    """Return the batches of a run: of every declared id, or of the ids of its `only_keys`."""
    return Batches(spec) if run.only_keys is None else Batches(spec, ids_of(spec, frozenset(run.only_keys)))


class Wanted(Iterator[Batch]):
    """The batches of a running run, until it is cancelled or out of time. The first batch always runs.

    Attributes:
        is_cancelled, is_late: why there are no more batches.
    """

    def __init__(self, run: WarmingRun, batches: Iterator[Batch], *, deadline: float | None = None) -> None:
        self.is_cancelled = self.is_late = False
        self._run = run
        self._batches = batches
        self._deadline = deadline
        self._has_begun = False
        self._checked_at = time.monotonic()

    def __next__(self) -> Batch:
        batch = next(self._batches)
        now = time.monotonic()
        self.is_late = self._has_begun and self._deadline is not None and now >= self._deadline
        self._has_begun = True
        if now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            self.is_cancelled = not lifecycle.is_current(self._run)
        if self.is_late or self.is_cancelled:
            raise StopIteration
        return batch


def warm_here(
    spec: JobSpec,
    run: WarmingRun,
    batches: Iterator[Batch],
    *,
    numbers: Iterable[int] | None = None,
    worker: str = "",
    progress: Callable[[Report], None] | None = None,
    interrupts: Interrupts = (),
    raised: Interrupts = (),
) -> int:
    """Load and write batches of a running run, and record each; return the number of the last.

    Args:
        numbers: the numbers of the batches; default: from 1.
        worker: the name of this process, for the record.
        progress: called with the report of each batch.
        interrupts, raised: errors that end a batch, or the whole call, see `pipeline.warm_batches`.
    """
    keep = keep_seconds(spec, run)
    reports = pipeline.warm_batches(spec, batches, keep_seconds=keep, interrupts=interrupts, raised=raised)
    number, recorded_at = 0, time.monotonic()
    unrecorded: dict[int, Report] = {}
    try:
        for report, number in zip(reports, numbers or count(1), strict=False):
            unrecorded[number] = report
            if progress is not None:
                progress(report)
            if time.monotonic() - recorded_at >= RECORD_SECONDS:
                lifecycle.record_batches(run, unrecorded, worker=worker)
                unrecorded, recorded_at = {}, time.monotonic()
    finally:  # even if the ids fail half way
        if unrecorded:
            lifecycle.record_batches(run, unrecorded, worker=worker)
    return number


def keep_seconds(spec: JobSpec, run: WarmingRun) -> float | None:
    """Return the seconds that a key must have left for a run to skip it; None: the run skips no keys."""
    if run.only_missing:
        return 0.0
    if run.trigger == Trigger.SCHEDULE and spec.refresh_below is not None:
        return spec.refresh_below * spec.timeout.total_seconds()
    return None
