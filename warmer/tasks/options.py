"""What the tasks have in common."""

from __future__ import annotations

from typing import Any

from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError

# A database that is away for a moment costs a wait, not a batch.
PATIENT: dict[str, Any] = {
    "autoretry_for": (OperationalError, InterfaceError),
    "max_retries": 5,
    "retry_backoff": True,
    "retry_backoff_max": 30,
    "acks_late": True,
    "ignore_result": True,
}
INTERRUPTS = (SoftTimeLimitExceeded,)
# Kombu's steps of priority in Redis, the first served first. What is sent with none stands at 0: upkeep, and
# whatever else the project has in the queue. So a job's many batches never keep an invalidation waiting.
RUNS, BATCHES = 3, 6


def behind(step: int) -> dict[str, Any]:
    """Return the option that has a message wait behind those of the steps before.

    A Redis broker needs nothing declared for it. RabbitMQ counts the other way round, and only in queues
    that were declared with `x-max-priority`: there messages are served as they came.
    """
    address = str(current_app.conf.broker_write_url or "")
    return {"priority": step} if address.startswith(("redis", "sentinel")) else {}
