"""What monitoring keeps: audits, the last observation of each job, and the totals of ended runs."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.models.runs import Trigger


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
