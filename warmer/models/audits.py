"""What audits found."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.models.triggers import Trigger


class CacheAudit(models.Model):
    """What an audit of a job found: what was cached, compared with what the loader gave."""

    job = models.CharField(max_length=MAX_NAME_LENGTH)
    trigger = models.CharField(max_length=10, choices=Trigger)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(default=timezone.now)
    whole = models.BooleanField(help_text="Every declared key was looked at, and not a sample.")
    sampled = models.PositiveBigIntegerField(help_text="The sum of the six counts that follow.")
    right = models.PositiveBigIntegerField()
    wrong = models.PositiveBigIntegerField()
    missing = models.PositiveBigIntegerField(help_text="Not cached, though there is a value.")
    no_value = models.PositiveBigIntegerField(help_text="Not cached, and there is no value.")
    changed = models.PositiveBigIntegerField(help_text="Changed again and again meanwhile: not judged.")
    failed = models.PositiveBigIntegerField(help_text="Could not be loaded or compared: not judged.")
    undeclared = models.PositiveBigIntegerField(help_text="How many were cached by readers alone.")
    repaired = models.PositiveBigIntegerField(help_text="How many wrong keys were invalidated.")
    queries = models.PositiveBigIntegerField()
    error = models.TextField(blank=True, help_text="Why it ended early.")
    wrong_keys = models.JSONField(default=list, blank=True, help_text="The first, with what differs.")
    failures = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        verbose_name = "audit"
        indexes = [models.Index(fields=["job", "-id"], name="warmer_audit_job")]

    def __str__(self) -> str:
        return f"audit {self.pk} of {self.job}"
