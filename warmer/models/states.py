"""Where a run is."""

from __future__ import annotations

from django.db import models


class State(models.TextChoices):
    """Where a run is. A run ends in one of the last six."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    COMPLETE = "complete", "complete"
    INCOMPLETE = "incomplete", "incomplete"
    FAILED = "failed", "failed"
    LOST = "lost", "lost"
    EXPIRED = "expired", "expired"
    CANCELLED = "cancelled", "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a run in this state has ended."""
        return self not in ACTIVE


ACTIVE = (State.QUEUED, State.RUNNING)
"""The states of a run that has not ended."""
