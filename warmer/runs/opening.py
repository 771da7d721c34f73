"""Asking for a run: a job has one at a time, and who asks meanwhile joins it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from warmer.conf import conf
from warmer.models import State, Trigger, WarmingRun
from warmer.runs.ending import close_stalled


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The answer to a request for a run.

    Attributes:
        run: the run that will do it.
        joined: it is one that was asked for before and has not ended.
        leaves_cached: a run of every key was asked for, and it leaves keys alone that are cached.
    """

    run: WarmingRun
    joined: bool
    leaves_cached: bool = False


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

    Raises:
        IntegrityError: the database refuses the row, and not for a run that is under way.
    """
    close_stalled(job)
    now = timezone.now()
    failed_alone = False
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
            if active is not None:
                leaves_cached = active.only_missing and not only_missing
                return Opened(run=active, joined=True, leaves_cached=leaves_cached)
            if failed_alone:
                raise
            failed_alone = True  # it may have ended between the two queries; hardly so twice in a row


def request_follow_up(run: WarmingRun) -> bool:
    """Ask a running run for another one at its end; return whether it was still running."""
    return bool(WarmingRun.objects.filter(pk=run.pk, state=State.RUNNING).update(follow_up=True))
