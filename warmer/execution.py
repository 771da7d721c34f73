"""Execute a run in this process, with its row in the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from warmer import ledger, runner
from warmer.batching import Batches
from warmer.keys import Batch
from warmer.models import Trigger, WarmingRun
from warmer.report import Report, describe
from warmer.spec import JobSpec

logger = logging.getLogger(__name__)


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
    started = ledger.start(run.pk, worker=worker)
    if started is None:
        return
    batches = Batches(spec)
    keep = runner.keep_seconds(
        spec, only_missing=started.only_missing, scheduled=started.trigger == Trigger.SCHEDULE
    )
    out_of_time = cancelled = False

    def wanted() -> Iterator[Batch]:
        nonlocal out_of_time, cancelled
        for keys in batches:
            out_of_time = deadline is not None and time.monotonic() >= deadline
            cancelled = not ledger.is_current(started.pk, started.attempt)
            if out_of_time or cancelled:
                return
            yield keys

    number = 0
    ended = False
    try:
        for number, report in enumerate(runner.warm_batches(spec, wanted(), keep_seconds=keep), start=1):
            ledger.record_batch(started, number, report, worker=worker)
            if progress is not None:
                progress(report)
        if cancelled:
            ended = True  # by who cancelled it
            return
        if out_of_time:
            ended = ledger.fail(started, f"It was stopped before batch {number + 1}: out of time.")
            return
        ledger.expect(started, batches=number, report=batches.report)
        ended = True
    except Exception as error:  # of the declared ids: a loader's errors are counted in its batch
        logger.exception("The run %s of %s failed", run.pk, spec.name)
        ended = ledger.fail(started, f"The ids could not be found: {describe(error)}")
    finally:
        if not ended:  # interrupted by Ctrl-C, or by the end of the process
            ledger.fail(started, "It was interrupted.")
