"""How a run gets on: its start, and its batches, each counted once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from warmer.models import ACTIVE, FIGURES, State, WarmingRun
from warmer.report import Report
from warmer.runs import batch_queue
from warmer.runs.ending import end

_CHANGING = (*FIGURES, "failures", "batches_done", "batches_total", "batches_sent", "heartbeat_at")


def start(run_id: int, *, worker: str = "") -> WarmingRun | None:
    """Mark a run as running, and void what an earlier start of it counted.

    Returns:
        The run, with the number of this attempt; None when it has ended or does not exist, so that
        there is nothing to do.
    """
    with transaction.atomic():
        run = WarmingRun.objects.select_for_update().filter(pk=run_id, state__in=ACTIVE).first()
        if run is None:
            return None
        now = timezone.now()
        if run.attempt:
            run.batches.all().delete()
            for name in (*FIGURES, "batches_done", "batches_sent"):
                setattr(run, name, 0)
            run.failures, run.batches_total = [], None
        run.state = State.RUNNING
        run.attempt += 1
        run.worker = worker
        run.started_at = run.started_at or now
        run.heartbeat_at = now
        run.save()
    return run


def is_current(run: WarmingRun) -> bool:
    """Say whether a run is still wanted, and has not been started anew."""
    return WarmingRun.objects.filter(_of_attempt(run, State.RUNNING)).exists()


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of reports on batches.

    Attributes:
        counted: how many were counted: not those that were before, and none when the run has ended or
            started anew.
        then: the batches to send for next, where workers do the run.
    """

    counted: int
    then: batch_queue.Range | None = None


def record_batches(
    run: WarmingRun, reports: Mapping[int, Report], *, worker: str = "", at_most: int = 1
) -> Recorded:
    """Count batches together, and end the run when they were the last.

    Where batches take little time, counting each by itself would take most of it. Batches that were in hand
    when their run was cancelled are counted, too: their keys are written.

    Args:
        reports: by the numbers of the batches.
        at_most: how many batches to send for next; 0: not yet.
    """
    with transaction.atomic():
        current = _lock(run, State.RUNNING, State.CANCELLED)
        new = batch_queue.uncounted(current, list(reports)) if current is not None else []
        if current is None or not new:
            return Recorded(counted=0)
        then = _next_to_send(current, at_most)
        batch_queue.note_done(current, new, worker=worker, then=then)
        if then is not None:
            current.batches_sent = then.last
        _add(current, sum((reports[number] for number in new), Report(job=run.job)), batches=len(new))
    if current.batches_done == current.batches_total:
        _finish_when_done(run)
    return Recorded(counted=len(new), then=then)


def _next_to_send(run: WarmingRun, at_most: int) -> batch_queue.Range | None:
    left = (run.batches_total or 0) - run.batches_sent
    if run.state != State.RUNNING or not run.batches_sent or left <= 0 or at_most <= 0:
        return None
    return batch_queue.Range(first=run.batches_sent + 1, count=min(at_most, left))


def expect(run: WarmingRun, *, batches: int, report: Report, sent: int = 0) -> bool:
    """Say how many batches there are, and what finding the ids cost; end the run if all are done.

    Args:
        sent: how many of them are sent to workers now; each asks for one of the others when it is done.

    Returns:
        Whether the run is still wanted.
    """
    with transaction.atomic():
        current = _lock(run, State.RUNNING)
        if current is None:
            return False
        current.batches_total = batches
        current.batches_sent = sent
        _add(current, report, batches=0)
    _finish_when_done(run)
    return True


def beat(run: WarmingRun) -> bool:
    """Say that the run gets on, though no batch of it has ended; return whether it is still wanted."""
    current = WarmingRun.objects.filter(_of_attempt(run, State.RUNNING))
    return bool(current.update(heartbeat_at=timezone.now()))


def _of_attempt(run: WarmingRun, *states: State) -> Q:
    """A run in one of these states, unless it was started anew."""
    return Q(pk=run.pk, attempt=run.attempt, state__in=states)


def _lock(run: WarmingRun, *states: State) -> WarmingRun | None:
    return WarmingRun.objects.select_for_update().filter(_of_attempt(run, *states)).first()


def _add(run: WarmingRun, report: Report, *, batches: int) -> None:
    """Add a report to a locked run, and save what can have changed."""
    total = run.report + report
    for name in FIGURES:
        setattr(run, name, getattr(total, name))
    run.failures = total.as_dict()["failures"]
    run.batches_done += batches
    run.heartbeat_at = timezone.now()
    run.save(update_fields=_CHANGING)


def _finish_when_done(run: WarmingRun) -> None:
    """End the run if every batch was counted; of two that see the last one, one ends it."""
    done = _of_attempt(run, State.RUNNING) & Q(batches_done=F("batches_total"))
    finished = WarmingRun.objects.filter(done).first()
    if finished is None:
        return
    report = finished.report
    if report.ok:
        end(done, State.COMPLETE)
    elif report.failed == report.keys:
        first = f"; the first: {report.failures[0].error}" if report.failures else "."
        end(done, State.FAILED, f"Every key failed{first}")
    else:
        end(done, State.INCOMPLETE, f"{report.failed} of {report.keys} keys failed.")
