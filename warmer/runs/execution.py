"""Execute a run in this process, and record its progress."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from warmer.declarations.spec import JobSpec
from warmer.filling import pipeline
from warmer.filling.loading import Batches, ids_of
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
    try:
        done = warm_here(spec, started, batches, worker=worker, deadline=deadline, progress=progress)
        if done.is_late:
            lifecycle.fail(started, f"It was stopped before batch {done.number + 1}: out of time.")
        else:
            lifecycle.expect(started, batches=done.number, report=batches.report)
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


@dataclass(frozen=True, kw_only=True)
class Warmed:
    """How far a run came.

    Attributes:
        number: the number of the last batch.
        is_late: it was stopped by the deadline.
    """

    number: int
    is_late: bool


def warm_here(
    spec: JobSpec,
    run: WarmingRun,
    batches: Iterator[Batch],
    *,
    numbers: Iterable[int] | None = None,
    worker: str = "",
    deadline: float | None = None,
    progress: Callable[[Report], None] | None = None,
    interrupts: Interrupts = (),
    raised: Interrupts = (),
) -> Warmed:
    """Load and write batches of a running run, and record each, until it is cancelled or out of time.

    Args:
        numbers: the numbers of the batches; default: from 1.
        worker: the name of this process, for the record.
        deadline: the `time.monotonic()` after which only the first batch is started.
        progress: called with the report of each batch.
        interrupts, raised: errors that end a batch, or the whole call, see `pipeline.warm_batches`.
    """
    is_late = False

    def wanted() -> Iterator[Batch]:
        nonlocal is_late
        checked_at = time.monotonic()
        for position, batch in enumerate(batches):
            now = time.monotonic()
            is_late = position > 0 and deadline is not None and now >= deadline
            if is_late:
                return
            if now - checked_at >= CHECK_SECONDS:
                checked_at = now
                if not lifecycle.is_current(run):
                    return
            yield batch

    keep = keep_seconds(spec, run)
    reports = pipeline.warm_batches(spec, wanted(), keep_seconds=keep, interrupts=interrupts, raised=raised)
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
    return Warmed(number=number, is_late=is_late)


def keep_seconds(spec: JobSpec, run: WarmingRun) -> float | None:
    """Return the seconds that a key must have left for a run to skip it; None: the run skips no keys."""
    if run.only_missing:
        return 0.0
    if run.trigger == Trigger.SCHEDULE and spec.refresh_below is not None:
        return spec.refresh_below * spec.timeout.total_seconds()
    return None
