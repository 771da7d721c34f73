"""What `warmer` keeps in the database: runs, audits, observations, the schedule that code declared."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from warmer.report import SECONDS, Failure, Outcome, Report
from warmer.spec import MAX_NAME_LENGTH


class Trigger(models.TextChoices):
    """What asked for a run."""

    DEPLOY = "deploy", "deploy"
    SCHEDULE = "schedule", "schedule"
    ADMIN = "admin", "admin"
    COMMAND = "command", "command"
    CHANGE = "change", "change"


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
        return self not in (State.QUEUED, State.RUNNING)


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
    fresh = models.PositiveBigIntegerField(default=0)
    fenced = models.PositiveBigIntegerField(default=0)
    absent = models.PositiveBigIntegerField(default=0)
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
        figures = {name: getattr(self, name) for name in (*(each.value for each in Outcome), *SECONDS)}
        return Report(
            job=self.job,
            batches=self.batches_done,
            queries=self.queries,
            failures=tuple(Failure(**failure) for failure in self.failures),
            **figures,
        )


class WarmingBatch(models.Model):
    """A batch of a run. Once it was counted, its row keeps a second delivery from counting again."""

    run = models.ForeignKey(WarmingRun, on_delete=models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    ids = models.JSONField(null=True, help_text="What a worker is to load; null once it was counted.")
    worker = models.CharField(max_length=255, blank=True)
    recorded_at = models.DateTimeField(null=True, help_text="When it was counted.")
    successor = models.PositiveIntegerField(
        null=True, help_text="The first of the batches that are sent for next, should it not have been done."
    )
    successors = models.PositiveSmallIntegerField(default=0, help_text="How many these are.")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="warmer_batch_counted_once")]

    def __str__(self) -> str:
        return f"batch {self.number} of run {self.run_id}"


class PendingInvalidation(models.Model):
    """Keys to invalidate: written with the change that asks for it, removed when it was applied."""

    jobs = models.JSONField(encoder=DjangoJSONEncoder, help_text="Job name -> ids; null: every key.")
    recorded_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now, help_text="When it is tried next.")
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"pending invalidation {self.pk} of {', '.join(self.jobs)}"


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
    absent = models.PositiveBigIntegerField(help_text="Not cached, and there is no value.")
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
    absent = models.PositiveIntegerField(default=0, help_text="Of the others, those that can have no value.")
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
    fresh = models.PositiveBigIntegerField(default=0)
    fenced = models.PositiveBigIntegerField(default=0)
    absent = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["job", "trigger", "state"], name="warmer_total_once"),
        ]

    def __str__(self) -> str:
        return f"{self.state} runs of {self.job} by {self.trigger}"


class JobSchedule(models.Model):
    """The interval that code declared when it was last synced: it tells an operator's edit from ours."""

    job = models.CharField(max_length=MAX_NAME_LENGTH, unique=True)
    declared_seconds = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.job} every {self.declared_seconds} s"


class Job(WarmingRun):
    """The declared jobs, as the admin lists them; no rows of their own."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "job"
