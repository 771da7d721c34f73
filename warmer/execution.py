"""Execute a run in this process, with its row in the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from warmer import ledger, runner
from warmer.batching import Batches
from warmer.models import WarmingRun
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
    number = 0
    ended = False
    try:
        for number, batch in enumerate(batches, start=1):
            if number > 1 and not ledger.is_current(started.pk, started.attempt):
                ended = True  # somebody cancelled it
                return
            if deadline is not None and time.monotonic() >= deadline:
                ended = ledger.fail(started, f"It was stopped before batch {number}: out of time.")
                return
            report = runner.warm_batch(spec, batch, only_missing=started.only_missing)
            ledger.record_batch(started, number, report, worker=worker)
            if progress is not None:
                progress(report)
        ledger.expect(started, batches=number, report=batches.report)
        ended = True
    except Exception as error:  # of the declared ids: a loader's errors are counted in its batch
        logger.exception("The run %s of %s failed", run.pk, spec.name)
        ended = ledger.fail(started, f"The ids could not be found: {describe(error)}")
    finally:
        if not ended:  # interrupted by Ctrl-C, or by the end of the process
            ledger.fail(started, "It was interrupted.")
