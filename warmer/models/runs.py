"""Runs: each execution of a job, with what it came to."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.models.states import State
from warmer.models.triggers import Trigger
from warmer.report import SECONDS, Failure, Outcome, Report

FIGURES = (*(outcome.value for outcome in Outcome), "queries", *SECONDS)
"""The columns of a run that add up what its batches' reports say, by the same names."""


class WarmingRun(models.Model):
    """One execution of a job."""

    job = models.CharField(max_length=MAX_NAME_LENGTH)
    trigger = models.CharField(max_length=10, choices=Trigger)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    only_missing = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    active_job = models.CharField(
        max_length=MAX_NAME_LENGTH,
        null=True,
        unique=True,
        editable=False,
        help_text="The job's name until the run ends. Unique, so that a job has one run at a time.",
    )
    follow_up = models.BooleanField(
        default=False, help_text="A change came while it ran: another run is requested at its end."
    )
    worker = models.CharField(max_length=255, blank=True, help_text="Where the run was started.")

    requested_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(help_text="A run that nobody started by then has expired.")
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True, help_text="When it was last seen to get on.")
    finished_at = models.DateTimeField(null=True)

    attempt = models.PositiveIntegerField(
        default=0, help_text="Counts starts: what an earlier start sent out is no longer counted."
    )
    batches_total = models.PositiveIntegerField(null=True, help_text="Unknown until all are sent out.")
    batches_done = models.PositiveIntegerField(default=0)
    batches_sent = models.PositiveIntegerField(default=0, help_text="To workers, by number; 0: to none.")
    written = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(default=0)
    superseded = models.PositiveBigIntegerField(default=0)
    no_value = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    queries = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0, help_text="Seconds of work, summed over the workers.")
    load_seconds = models.FloatField(default=0, help_text="Of these, in the loader.")
    encode_seconds = models.FloatField(default=0, help_text="In the cache's serializer.")
    write_seconds = models.FloatField(default=0, help_text="Waiting for the cache to write.")
    wait_seconds = models.FloatField(default=0, help_text="Waiting for a turn, or to load again.")
    error = models.TextField(blank=True)
    failures = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        permissions = [
            ("warm_job", "Can warm a job now"),
            ("cancel_run", "Can cancel a run"),
            ("invalidate_job", "Can invalidate every key of a job"),
            ("pause_job", "Can pause and resume the schedule of a job"),
            ("audit_job", "Can audit a job"),
            ("edit_schedule", "Can set when a job is refreshed"),
        ]
        verbose_name = "run"
        indexes = [
            models.Index(fields=["job", "-id"], name="warmer_run_job"),
            models.Index(fields=["state", "-id"], name="warmer_run_state"),
            models.Index(fields=["requested_at"], name="warmer_run_requested"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.job}"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return State(self.state).is_final

    @property
    def took(self) -> float | None:
        """Seconds from its start to its end, or to now; None when it has not begun."""
        if self.started_at is None:
            return None
        end: datetime = self.finished_at or timezone.now()
        return (end - self.started_at).total_seconds()

    @property
    def report(self) -> Report:
        """What has happened to the run's keys so far."""
        return Report(
            job=self.job,
            batches=self.batches_done,
            failures=tuple(Failure(**failure) for failure in self.failures),
            **{name: getattr(self, name) for name in FIGURES},
        )
