"""The life of a run: it opens, starts, makes progress, and ends once.

    open_run         start              every batch is counted
    -------> queued -------> running --------------------------> complete, incomplete or failed
               |                |--> lost         no progress for WARMER_STALL_TIMEOUT
               |                |--> failed       it cannot go on: no ids, no broker, interrupted
               |                `--> cancelled    by an operator
               |--> expired      no worker took it in time
               |--> failed       it could not be sent to a worker
               `--> cancelled    by an operator

A redelivered start begins a new attempt, which counts from zero. A batch counts once per attempt.
`active_job` is unique, so a job has one active run. Every change of state is one conditional UPDATE: if
several processes end a run, one succeeds and sends `run_finished`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, connections, router
from django.db.models import Q
from django.utils import timezone

from warmer.conf import conf
from warmer.declarations.registry import jobs
from warmer.humanize import counted
from warmer.models import FIGURES, State, Trigger, WarmingRun, atomic_for
from warmer.report import MAX_ERROR_LENGTH, Report
from warmer.runs import batch_queue
from warmer.signals import run_finished
from warmer.stores import describe_cache

_CHANGING = (*FIGURES, "failures", "batches_done", "batches_total", "heartbeat_at")


# -- open ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Opened:
    """The answer to a request for a run.

    Attributes:
        run: the run that answers the request. A joined one may skip cached keys: see its `only_missing`.
        joined: the run was already active.
    """

    run: WarmingRun
    joined: bool


def open_run(
    job: str,
    trigger: Trigger,
    *,
    user: Any = None,
    only_missing: bool = False,
    only_keys: Sequence[str] | None = None,
    expires_in: timedelta | None = None,
) -> Opened:
    """Open a run of a job, or join its active run. A run of some keys is cancelled instead.

    Args:
        job: the job's name.
        trigger: what requests the run.
        user: who requests it, if known.
        only_missing: skip keys that are cached.
        only_keys: load only these keys.
        expires_in: how long the run may wait for a worker; default `WARMER_RUN_EXPIRY`.

    Raises:
        IntegrityError: the database refuses the row, and not because of an active run.
    """
    close_stalled(job)
    now = timezone.now()
    fields = {
        "job": job,
        "trigger": trigger,
        "requested_by": user.get_username() if user else "",
        "only_missing": only_missing,
        "only_keys": only_keys,
        "cache": describe_cache(jobs[job].spec.cache) if job in jobs else "",
        "requested_at": now,
        "expires_at": now + (expires_in or conf.RUN_EXPIRY),
    }

    def open_or_join() -> tuple[WarmingRun, bool]:
        return WarmingRun.objects.get_or_create(active_job=job, defaults=fields)

    while True:
        try:
            run, is_new = open_or_join()
        except IntegrityError:  # the active run may have just ended, but not twice in a row
            run, is_new = open_or_join()
        if is_new:
            return Opened(run=run, joined=False)
        if run.only_keys is None:
            break
        cancel(run, "a request for another run of the job")
    queued = WarmingRun.objects.filter(pk=run.pk, state=State.QUEUED)
    if not only_missing and queued.update(only_missing=False):
        run.refresh_from_db()  # it becomes a full one
    return Opened(run=run, joined=True)


def request_follow_up(run: WarmingRun) -> bool:
    """Request another run for when a running one ends; return whether it was still running."""
    return bool(WarmingRun.objects.filter(pk=run.pk, state=State.RUNNING).update(follow_up=True))


# -- progress ------------------------------------------------------------------------------------------
def start(run_id: int, *, worker: str = "") -> WarmingRun | None:
    """Mark a run as running, and discard the counts of an earlier attempt.

    Returns:
        The run with the number of this attempt; None if it has ended or does not exist.
    """
    with atomic_for(WarmingRun):
        run = WarmingRun.objects.active().select_for_update().filter(pk=run_id).first()
        if run is None:
            return None
        now = timezone.now()
        if run.attempt:
            run.batches.all().delete()
            for name in (*FIGURES, "batches_done"):
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
    """Return whether a run is still running, in the same attempt."""
    return WarmingRun.objects.filter(_attempt(run, State.RUNNING)).exists()


def beat(run: WarmingRun) -> bool:
    """Record a sign of progress; return whether a run is still running, in the same attempt."""
    current = WarmingRun.objects.filter(_attempt(run, State.RUNNING))
    return bool(current.update(heartbeat_at=timezone.now()))


def record_batches(run: WarmingRun, reports: Mapping[int, Report], *, worker: str = "") -> None:
    """Count batches, each once, and end the run if they were the last.

    Batches of an earlier attempt do not count. Batches in progress when their run was cancelled do, because
    their keys are written.

    Args:
        reports: by the number of the batch.
        worker: the name of the process that executed them.
    """
    with atomic_for(WarmingRun):
        current = _lock(run, State.RUNNING, State.CANCELLED)
        new = batch_queue.mark_counted(current, list(reports), worker=worker) if current is not None else []
        if current is None or not new:
            return
        _add(current, sum((reports[number] for number in new), Report(job=run.job)), batches=len(new))
    finish_if_done(current)


def expect(run: WarmingRun, *, batches: int, report: Report) -> bool:
    """Record the number of batches and the cost of finding the ids; end the run if all are counted.

    Returns:
        Whether the run is still running, or has ended here.
    """
    with atomic_for(WarmingRun):
        current = _lock(run, State.RUNNING)
        if current is None:
            return False
        current.batches_total = batches
        _add(current, report, batches=0)
    finish_if_done(current)
    return True


def _attempt(run: WarmingRun, *states: State) -> Q:
    return Q(pk=run.pk, attempt=run.attempt, state__in=states)


def _lock(run: WarmingRun, *states: State) -> WarmingRun | None:
    return WarmingRun.objects.select_for_update().filter(_attempt(run, *states)).first()


def _add(run: WarmingRun, report: Report, *, batches: int) -> None:
    """Add a report to a locked run, and save the changed columns."""
    total = run.report + report
    for name in FIGURES:
        setattr(run, name, getattr(total, name))
    run.failures = [asdict(each) for each in total.failures]
    run.batches_done += batches
    run.heartbeat_at = timezone.now()
    run.save(update_fields=_CHANGING)


# -- end -----------------------------------------------------------------------------------------------
def fail(run: WarmingRun, error: str) -> bool:
    """End a run that cannot continue; return whether it was active."""
    return _end(Q(pk=run.pk), State.FAILED, error) > 0


def cancel(run: WarmingRun, who: str, why: str = "") -> bool:
    """Cancel a run at its next batch, together with the run that would follow it.

    Counted batches stay. A batch in progress is finished and counted.

    Args:
        who: the user who cancels it.
        why: the reason given.

    Returns:
        Whether it was active.
    """
    WarmingRun.objects.active().filter(pk=run.pk).update(follow_up=False)
    reason = f" Why: {why}" if why else ""
    return _end(Q(pk=run.pk), State.CANCELLED, f"Cancelled by {who}.{reason}") > 0


def close_stalled(job: str | None = None) -> int:
    """End the runs that no worker will end; return how many there were.

    A queued run is `expired` when no worker took it in time. A running one is `lost` after
    `WARMER_STALL_TIMEOUT` without progress: its worker was killed, or its messages are gone. A run whose row
    is locked is left for later: its worker is recording, or is frozen in a transaction.
    """
    now = timezone.now()
    of_job = Q(job=job) if job else Q()
    expired = _end(
        of_job & Q(state=State.QUEUED, expires_at__lt=now),
        State.EXPIRED,
        "No worker took it in time. Is a worker running that consumes the job's queue?",
        waits=False,
    )
    lost = _end(
        of_job & Q(state=State.RUNNING, heartbeat_at__lt=now - conf.STALL_TIMEOUT),
        State.LOST,
        f"No progress for {conf.STALL_TIMEOUT.total_seconds():.0f} s: "
        "its worker was killed, or its messages are gone.",
        waits=False,
    )
    return expired + lost


def finish_if_done(run: WarmingRun) -> None:
    """End a run if its batches are all counted."""
    if run.batches_done != run.batches_total:
        return
    done, report = _attempt(run, State.RUNNING), run.report
    if report.ok:
        _end(done, State.COMPLETE)
    elif report.failed == report.keys:
        first = f"; the first: {report.failures[0].error}" if report.failures else "."
        _end(done, State.FAILED, f"Every key failed{first}")
    else:
        _end(done, State.INCOMPLETE, f"{report.failed} of {counted(report.keys, 'key')} failed.")


def _end(which: Q, state: State, error: str = "", *, waits: bool = True) -> int:
    """Put the active runs among `which` into a final state; return how many.

    Args:
        waits: wait for transactions that have locked the row of a run; otherwise skip the run.
    """
    ended = 0
    features = connections[router.db_for_write(WarmingRun)].features
    skips_locked = not waits and features.has_select_for_update_skip_locked
    final = {"state": state, "active_job": None, "error": error[: 4 * MAX_ERROR_LENGTH]}
    for run in WarmingRun.objects.active().filter(which):
        # The update compares again, so only one of several processes ends a run.
        still_active = WarmingRun.objects.active().filter(which, pk=run.pk)
        with atomic_for(WarmingRun):
            if skips_locked and not still_active.select_for_update(skip_locked=True).first():
                continue
            has_ended = still_active.update(finished_at=timezone.now(), **final)
        if has_ended:
            ended += 1
            run.refresh_from_db()
            batch_queue.clear(run)
            run_finished.send_robust(WarmingRun, run=run)  # Django logs receivers that raise
    return ended
