"""A run under way, as its worker left it."""

from __future__ import annotations

from typing import Any

from warmer import runs
from warmer.filling.batches import Batches
from warmer.models import Trigger, WarmingRun
from warmer.runs import batch_queue


def begun(job: Any, *, sent: int = 0) -> WarmingRun:
    """Return a run of a job whose batches are written down for workers."""
    run = runs.start(runs.open_run(job.name, Trigger.COMMAND).run.pk)
    assert run is not None
    batches = Batches(job.spec)
    (count,) = batch_queue.write_down(run, batches)
    runs.expect(run, batches=count, report=batches.report, sent=sent)
    run.refresh_from_db()
    return run
