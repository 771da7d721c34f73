"""What the tasks have in common."""

from __future__ import annotations

from typing import Any

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
