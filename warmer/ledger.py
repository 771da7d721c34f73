"""The ledger: what became of each run, counted once, with an end to every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Max, Q
from django.utils import timezone

from warmer import spool
from warmer.conf import conf
from warmer.models import State, Trigger, WarmingRun
from warmer.report import MAX_ERROR_LENGTH, SECONDS, Outcome, Report
from warmer.signals import run_finished

ACTIVE = (State.QUEUED, State.RUNNING)
# What a run adds up of its batches' reports.
_FIGURES = (*(outcome.value for outcome in Outcome), "queries", *SECONDS)
_CHANGING = (*_FIGURES, "failures", "batches_done", "batches_total", "batches_sent", "heartbeat_at")
# Of runs that are forgotten in one transaction, each with its batches.
CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The answer to a request for a run.

    Attributes:
        run: the run that will do it.
        joined: it is one that was asked for before and has not ended.
    """

    run: WarmingRun
    joined: bool


def open_run(
    job: str,
    trigger: Trigger,
    *,
    user: Any = None,
    only_missing: bool = False,
    expires_in: timedelta | None = None,
) -> Opened:
    """Open a run of a job, or join the one that is under way.

    Args:
        job: the job's name.
        trigger: what asks.
        user: who asks, where that is known.
        only_missing: leave keys alone that are cached.
        expires_in: how long the run may wait for a worker; default `WARMER_RUN_EXPIRY`.
    """
    close_stalled(job)
    now = timezone.now()
    while True:
        try:
            with transaction.atomic():
                run = WarmingRun.objects.create(
                    job=job,
                    active_job=job,
                    trigger=trigger,
                    requested_by=user,
                    only_missing=only_missing,
                    requested_at=now,
                    expires_at=now + (expires_in or conf.RUN_EXPIRY),
                )
            return Opened(run=run, joined=False)
        except IntegrityError:
            if not only_missing:  # a full run was asked for: one that has not begun can still be one
                WarmingRun.objects.filter(active_job=job, state=State.QUEUED).update(only_missing=False)
            active = WarmingRun.objects.filter(active_job=job).first()
            if active is not None:  # else it ended between the two queries
                return Opened(run=active, joined=True)


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
            for name in (*_FIGURES, "batches_done", "batches_sent"):
                setattr(run, name, 0)
            run.failures, run.batches_total = [], None
        run.state = State.RUNNING
        run.attempt += 1
        run.worker = worker
        run.started_at = run.started_at or now
        run.heartbeat_at = now
        run.save()
    return run


def is_current(run_id: int, attempt: int) -> bool:
    """Say whether the work of an attempt is still wanted."""
    return WarmingRun.objects.filter(pk=run_id, attempt=attempt, state=State.RUNNING).exists()


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of reports on batches.

    Attributes:
        counted: how many were counted: not those that were before, and none when the run has ended or
            started anew.
        then: the batches to send for next, where workers do the run.
    """

    counted: int
    then: spool.Range | None = None


def record_batch(run: WarmingRun, number: int, report: Report, *, worker: str = "") -> Recorded:
    """Count one batch, see `record_batches`."""
    return record_batches(run, {number: report}, worker=worker)


def record_batches(
    run: WarmingRun, reports: Mapping[int, Report], *, worker: str = "", at_most: int = 1
) -> Recorded:
    """Count batches together, and end the run when they were the last.

    Where batches take little time, counting each by itself would take most of it. Batches that were in hand
    when their run was cancelled are counted, too: their keys are written.

    Args:
        reports: by the numbers of the batches.
        at_most: how many batches to send for next.
    """
    with transaction.atomic():
        current = _lock(run, State.RUNNING, State.CANCELLED)
        new = spool.uncounted(current, list(reports)) if current is not None else []
        if current is None or not new:
            return Recorded(counted=0)
        then = _next_to_send(current, at_most)
        spool.note_done(current, new, worker=worker, then=then)
        if then is not None:
            current.batches_sent = then.last
        _add(current, sum((reports[number] for number in new), Report(job=run.job)), batches=len(new))
    if current.batches_done == current.batches_total:
        _finish_when_done(run)
    return Recorded(counted=len(new), then=then)


def _next_to_send(run: WarmingRun, at_most: int) -> spool.Range | None:
    left = (run.batches_total or 0) - run.batches_sent
    if run.state != State.RUNNING or not run.batches_sent or left <= 0:
        return None
    return spool.Range(first=run.batches_sent + 1, count=min(at_most, left))


def expect(run: WarmingRun, *, batches: int, report: Report, sent: int = 0) -> bool:
    """Say how many batches there are, and what finding the ids cost; end the run if all are done.

    Args:
        sent: how many of them are sent to workers now; each asks for one of the others when it is done.

    Returns:
        Whether the run is still wanted.
    """
    with transaction.atomic():
        current = _lock(run)
        if current is None:
            return False
        current.batches_total = batches
        current.batches_sent = sent
        _add(current, report, batches=0)
    _finish_when_done(run)
    return True


def beat(run: WarmingRun) -> bool:
    """Say that the run gets on, though no batch of it has ended; return whether it is still wanted."""
    current = WarmingRun.objects.filter(pk=run.pk, attempt=run.attempt, state=State.RUNNING)
    return bool(current.update(heartbeat_at=timezone.now()))


def fail(run: WarmingRun, error: str) -> bool:
    """End a run that could not be executed; return whether it had not ended before."""
    return _end(Q(pk=run.pk), State.FAILED, error) > 0


def cancel(run: WarmingRun, who: str) -> bool:
    """End a run at its next batch, and with it the run that changes asked for after it.

    What was counted stays; a batch that is in hand is finished and counted.

    Args:
        who: who cancels it, for the ledger.

    Returns:
        Whether it had not ended before.
    """
    WarmingRun.objects.filter(pk=run.pk, state__in=ACTIVE).update(follow_up=False)
    return _end(Q(pk=run.pk), State.CANCELLED, f"Cancelled by {who}.") > 0


def forget(*, before: datetime, newest_of: Iterable[str] = ()) -> int:
    """Delete the runs that ended before a time, in chunks, so that no transaction is long.

    Args:
        newest_of: the jobs whose newest run is kept, however old it is.

    Returns:
        How many were deleted.
    """
    kept = set(_newest(newest_of).values_list("newest", flat=True))
    forgotten, last = 0, 0
    while True:
        # Nothing ends before it was asked for: so the index on that time serves.
        old = WarmingRun.objects.filter(requested_at__lt=before, finished_at__lt=before, pk__gt=last)
        numbers = list(old.exclude(state__in=ACTIVE).order_by("pk").values_list("pk", flat=True)[:CHUNK])
        if not numbers:
            return forgotten
        last = numbers[-1]
        chunk = [number for number in numbers if number not in kept]
        WarmingRun.objects.filter(pk__in=chunk).delete()
        forgotten += len(chunk)


def request_follow_up(run: WarmingRun) -> bool:
    """Ask a running run for another one at its end; return whether it was still running."""
    return bool(WarmingRun.objects.filter(pk=run.pk, state=State.RUNNING).update(follow_up=True))


def close_stalled(job: str | None = None) -> int:
    """End the runs that nobody will end any more; return how many there were.

    A queued run that no worker took before it expired is `expired`. A running one without progress
    for `WARMER_STALL_TIMEOUT` is `lost`: its worker was killed, or its messages are gone.
    """
    now = timezone.now()
    of_job = Q(job=job) if job else Q()
    expired = _end(
        of_job & Q(state=State.QUEUED, expires_at__lt=now),
        State.EXPIRED,
        "No worker took it in time. Is a worker running that consumes the job's queue?",
    )
    lost = _end(
        of_job & Q(state=State.RUNNING, heartbeat_at__lt=now - conf.STALL_TIMEOUT),
        State.LOST,
        f"No progress for {conf.STALL_TIMEOUT.total_seconds():.0f} s: its worker was lost.",
    )
    return expired + lost


def last_runs(jobs: Iterable[str]) -> dict[str, WarmingRun]:
    """Return the newest run of each job that has one, in one query."""
    return {run.job: run for run in WarmingRun.objects.filter(pk__in=_newest(jobs))}


@dataclass(frozen=True, kw_only=True)
class PastCost:
    """What a job's last complete full runs cost, on average."""

    seconds_per_key: float
    queries_per_batch: float


def past_cost(job: str, *, keyed: bool = True, runs: int = 5) -> PastCost | None:
    """Return what a job cost in its last complete full runs, or None without any.

    Args:
        keyed: a query of each run was for the ids, and is not counted.
    """
    past = WarmingRun.objects.filter(job=job, state=State.COMPLETE, only_missing=False)[:runs]
    reports = [(run.took or 0.0, run.report) for run in past if run.report.keys]
    if not reports:
        return None
    return PastCost(
        seconds_per_key=sum(took for took, _ in reports) / sum(report.keys for _, report in reports),
        queries_per_batch=sum(max(0, report.queries - keyed) for _, report in reports)
        / max(1, sum(report.batches for _, report in reports)),
    )


def _newest(jobs: Iterable[str]) -> Any:
    of_jobs = WarmingRun.objects.filter(job__in=list(jobs)).values("job").order_by()
    return of_jobs.annotate(newest=Max("id")).values("newest")


def _lock(run: WarmingRun, *states: State) -> WarmingRun | None:
    running = WarmingRun.objects.select_for_update()
    return running.filter(pk=run.pk, attempt=run.attempt, state__in=states or (State.RUNNING,)).first()


def _add(run: WarmingRun, report: Report, *, batches: int) -> None:
    """Add a report to a locked run, and save what can have changed."""
    total = run.report + report
    for name in _FIGURES:
        setattr(run, name, getattr(total, name))
    run.failures = total.as_dict()["failures"]
    run.batches_done += batches
    run.heartbeat_at = timezone.now()
    run.save(update_fields=_CHANGING)


def _finish_when_done(run: WarmingRun) -> None:
    """End the run if every batch was counted; of two that see the last one, one ends it."""
    done = Q(pk=run.pk, attempt=run.attempt, state=State.RUNNING, batches_done=F("batches_total"))
    if not WarmingRun.objects.filter(done).exists():
        return
    report = WarmingRun.objects.get(pk=run.pk).report
    if report.ok:
        _end(done, State.COMPLETE)
    elif report.failed == report.keys:
        _end(done, State.FAILED, f"Every key failed; the first: {report.failures[0].error}")
    else:
        _end(done, State.INCOMPLETE, f"{report.failed} of {report.keys} keys failed.")


def _end(which: Q, state: State, error: str = "") -> int:
    """Bring the active runs among `which` to a final state; return how many."""
    ended = 0
    for run in WarmingRun.objects.filter(which, state__in=ACTIVE):
        # Compared again in the update: of several that end a run, one does, and one signal is sent.
        ended_here = WarmingRun.objects.filter(which, pk=run.pk, state__in=ACTIVE).update(
            state=state,
            active_job=None,
            finished_at=timezone.now(),
            error=error[: 4 * MAX_ERROR_LENGTH],
        )
        if ended_here:
            ended += 1
            run.refresh_from_db()
            spool.clear(run)
            run_finished.send(WarmingRun, run=run)
    return ended
