"""Invalidations that are to be applied."""

from __future__ import annotations

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone


class PendingInvalidation(models.Model):
    """Keys to invalidate: written with the change that asks for it, removed when it was applied."""

    jobs = models.JSONField(encoder=DjangoJSONEncoder, help_text="Job name -> ids; null: every key.")
    keys = models.JSONField(
        default=dict, help_text="Job name -> its key as declared, by which it is found under another name."
    )
    recorded_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now, help_text="When it is tried next.")
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"pending invalidation {self.pk} of {', '.join(self.jobs)}"
