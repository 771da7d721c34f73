"""What ended runs came to."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH


class RunTotal(models.Model):
    """What the ended runs of a job came to. It only grows: runs that are no longer kept stay counted."""

    job = models.CharField(max_length=MAX_NAME_LENGTH)
    trigger = models.CharField(max_length=10)
    state = models.CharField(max_length=10)
    last_at = models.DateTimeField(default=timezone.now, help_text="When the last of them ended.")
    runs = models.PositiveBigIntegerField(default=0)
    started = models.PositiveBigIntegerField(default=0, help_text="Of them, those that a worker began.")
    wait_seconds = models.FloatField(default=0, help_text="From the request to the start, summed.")
    took_seconds = models.FloatField(default=0, help_text="From the start to the end, summed.")
    work_seconds = models.FloatField(default=0, help_text="Of work, summed over runs and workers.")
    batches = models.PositiveBigIntegerField(default=0)
    queries = models.PositiveBigIntegerField(default=0)
    written = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    superseded = models.PositiveBigIntegerField(default=0)
    no_value = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["job", "trigger", "state"], name="warmer_total_once"),
        ]

    def __str__(self) -> str:
        return f"{self.state} runs of {self.job} by {self.trigger}"
