"""The end of a run: one, whoever brings it about, and one signal of it."""

from __future__ import annotations

from django.db.models import Q
from django.utils import timezone

from warmer.conf import conf
from warmer.models import ACTIVE, State, WarmingRun
from warmer.report import MAX_ERROR_LENGTH
from warmer.runs import batch_queue
from warmer.signals import run_finished


def fail(run: WarmingRun, error: str) -> bool:
    """End a run that could not be executed; return whether it had not ended before."""
    return end(Q(pk=run.pk), State.FAILED, error) > 0


def cancel(run: WarmingRun, who: str, why: str = "") -> bool:
    """End a run at its next batch, and with it the run that changes asked for after it.

    What was counted stays; a batch that is in hand is finished and counted.

    Args:
        who: who cancels it, for the ledger.
        why: why, as they say it; for the ledger, too.

    Returns:
        Whether it had not ended before.
    """
    WarmingRun.objects.filter(pk=run.pk, state__in=ACTIVE).update(follow_up=False)
    said = f" Why: {why}" if why else ""
    return end(Q(pk=run.pk), State.CANCELLED, f"Cancelled by {who}.{said}") > 0


def close_stalled(job: str | None = None) -> int:
    """End the runs that nobody will end any more; return how many there were.

    A queued run that no worker took before it expired is `expired`. A running one without progress
    for `WARMER_STALL_TIMEOUT` is `lost`: its worker was killed, or its messages are gone.
    """
    now = timezone.now()
    of_job = Q(job=job) if job else Q()
    expired = end(
        of_job & Q(state=State.QUEUED, expires_at__lt=now),
        State.EXPIRED,
        "No worker took it in time. Is a worker running that consumes the job's queue?",
    )
    lost = end(
        of_job & Q(state=State.RUNNING, heartbeat_at__lt=now - conf.STALL_TIMEOUT),
        State.LOST,
        f"No progress for {conf.STALL_TIMEOUT.total_seconds():.0f} s: its worker was lost.",
    )
    return expired + lost


def end(which: Q, state: State, error: str = "") -> int:
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
            batch_queue.clear(run)
            run_finished.send(WarmingRun, run=run)
    return ended
