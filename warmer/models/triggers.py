"""What asks for runs and audits."""

from __future__ import annotations

from django.db import models


class Trigger(models.TextChoices):
    """What asked for a run."""

    DEPLOY = "deploy", "deploy"
    SCHEDULE = "schedule", "schedule"
    ADMIN = "admin", "admin"
    COMMAND = "command", "command"
    CHANGE = "change", "change"
