"""What was last seen of each job."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH


class JobObservation(models.Model):
    """What the last look at a job's keys and at its traffic found.

    After a look that failed, `error` says why, and the rest is of the last one that did not.
    """

    job = models.CharField(max_length=MAX_NAME_LENGTH, unique=True)
    looked_at = models.DateTimeField(default=timezone.now, help_text="The last look, failed or not.")
    observed_at = models.DateTimeField(null=True, help_text="The last look that did not fail.")
    error = models.TextField(blank=True)

    declared = models.PositiveBigIntegerField(default=0, help_text="Ids that were declared, as far as read.")
    sampled = models.PositiveIntegerField(default=0, help_text="Of them, those that were looked at.")
    cached = models.PositiveIntegerField(default=0, help_text="Of these, those with a value in the cache.")
    no_value = models.PositiveIntegerField(default=0, help_text="Of the rest, those without a value.")
    oldest_seconds = models.FloatField(null=True, help_text="Age of the oldest; null: not known.")

    # Null: reads are not counted, or this cache keeps no counts.
    hits_hour = models.PositiveBigIntegerField(null=True)
    misses_hour = models.PositiveBigIntegerField(null=True)
    hits_day = models.PositiveBigIntegerField(null=True)
    misses_day = models.PositiveBigIntegerField(null=True)

    panel = models.CharField(max_length=16, blank=True, help_text="The keys that readers watch now.")
    panel_drawn_at = models.DateTimeField(null=True)
    panel_ends_at = models.DateTimeField(null=True)
    panel_share = models.FloatField(null=True, help_text="The panel's share of the declared keys.")
    # Of the last panel that ended.
    watched = models.PositiveIntegerField(null=True, help_text="Its keys that were warm when it was drawn.")
    watched_read = models.PositiveIntegerField(null=True, help_text="Of them, those that were read.")
    watched_share = models.FloatField(null=True, help_text="Its share of the declared keys.")
    watched_misses = models.PositiveBigIntegerField(null=True, help_text="Reads of its keys that missed.")
    watched_from = models.DateTimeField(null=True)
    watched_until = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"observation of {self.job}"
