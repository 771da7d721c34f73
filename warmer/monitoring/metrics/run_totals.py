"""Totals: what the ended runs of each job came to. They only grow, whatever runs are still kept."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models import F
from django.utils import timezone

from warmer.models import RunTotal, WarmingRun
from warmer.report import Outcome, describe

logger = logging.getLogger(__name__)

OUTCOMES = tuple(outcome.value for outcome in Outcome)


def add(run: WarmingRun) -> None:
    """Add a run that has ended. Never raises: the run is kept, and only its sum is lost."""
    added = {
        "runs": 1,
        "started": int(run.started_at is not None),
        "wait_seconds": _seconds(run.started_at - run.requested_at) if run.started_at else 0.0,
        "took_seconds": run.took or 0.0,
        "work_seconds": run.seconds,
        "batches": run.batches_done,
        "queries": run.queries,
        **{name: getattr(run, name) for name in OUTCOMES},
    }
    try:
        with transaction.atomic():
            total, _ = RunTotal.objects.get_or_create(job=run.job, trigger=run.trigger, state=run.state)
            RunTotal.objects.filter(pk=total.pk).update(
                last_at=run.finished_at or timezone.now(),
                **{name: F(name) + value for name, value in added.items()},
            )
    except DatabaseError as error:
        logger.error("%s could not be added to the totals: %s", run, describe(error))


def _seconds(length: timedelta) -> float:
    return max(0.0, length.total_seconds())
