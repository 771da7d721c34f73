"""Runs: each execution of a job, its batches, and queries about past runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import connections, models
from django.db.models import OuterRef
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.exceptions import CircuitOpen, StoreUnavailable
from warmer.models.routing import JobQuerySet, PrimaryManager, Row
from warmer.report import SECONDS, Failure, Outcome, Report

FIGURES = (*(outcome.value for outcome in Outcome), "queries", *SECONDS)
"""The columns of a run with the sums of its batches' reports, by the same names."""


class Trigger(models.TextChoices):
    """What requested a run."""

    DEPLOY = "deploy", "deploy"
    SCHEDULE = "schedule", "schedule"
    ADMIN = "admin", "admin"
    COMMAND = "command", "command"
    CHANGE = "change", "change"


class State(models.TextChoices):
    """The state of a run. `warmer.runs.lifecycle` has a diagram of the transitions."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    COMPLETE = "complete", "complete"
    INCOMPLETE = "incomplete", "incomplete"
    FAILED = "failed", "failed"
    LOST = "lost", "lost"
    EXPIRED = "expired", "expired"
    CANCELLED = "cancelled", "cancelled"


OUTAGES = (StoreUnavailable.__name__, CircuitOpen.__name__)
"""The start of the error of keys that failed because the cache did not answer."""
ACTIVE = (State.QUEUED, State.RUNNING)
"""The states of active runs."""


class RunQuerySet(JobQuerySet["WarmingRun"]):
    """Queries about runs, by job."""

    def active(self) -> RunQuerySet:
        """Return the runs that have not ended."""
        return self.filter(state__in=ACTIVE)

    def complete_and_full(self, job: str | OuterRef) -> RunQuerySet:
        """Return the complete runs of every key of a job, newest first."""
        full = self.filter(job=job, only_missing=False, only_keys__isnull=True)
        return full.filter(state=State.COMPLETE).order_by("-id")

    def recent_per_job(self, jobs: Iterable[str], *, each: int) -> dict[str, list[WarmingRun]]:
        """Return the newest runs of each job, newest first, in one query.

        A UNION of one query per job, each of which reads the index backwards, regardless of the number of
        runs.

        Args:
            jobs: at most 200, since SQLite limits a compound query to 500 parts.
            each: how many runs of each job.
        """
        found: dict[str, list[WarmingRun]] = {job: [] for job in jobs}
        newest = [self._newest(job, each) for job in found]
        for run in sorted(self.none().union(*newest, all=True), key=lambda run: -run.pk):
            found[run.job].append(run)
        return found

    def _newest(self, job: str, count: int) -> models.QuerySet[WarmingRun]:
        newest = self.filter(job=job).order_by("-id")
        if connections[self.db].features.supports_slicing_ordering_in_compound:
            return newest[:count]
        return self.order_by().filter(pk__in=newest.values("pk")[:count])


class WarmingRun(Row):
    """One execution of a job."""

    job = models.CharField(max_length=MAX_NAME_LENGTH)
    trigger = models.CharField(max_length=10, choices=Trigger)
    # Not a foreign key: the users may be on another database.
    requested_by = models.CharField(max_length=255, blank=True, help_text="The name of the user.")
    only_missing = models.BooleanField(default=False)
    only_keys = models.JSONField(null=True, help_text="The only keys to load; null: every declared key.")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    active_job = models.CharField(
        max_length=MAX_NAME_LENGTH,
        null=True,
        unique=True,
        editable=False,
        help_text="The job's name until the run ends. Unique, so that a job has one run at a time.",
    )
    follow_up = models.BooleanField(
        default=False, help_text="A change came during the run: another run is requested at its end."
    )
    worker = models.CharField(max_length=255, blank=True, help_text="Where the run was started.")
    cache = models.TextField(
        db_default="", editable=False, help_text="How the process that requested it sees the job's cache."
    )

    requested_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(help_text="The run expires if no worker has started it by then.")
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True, help_text="Last sign of progress.")
    finished_at = models.DateTimeField(null=True)

    attempt = models.PositiveIntegerField(
        default=0, help_text="Number of starts. Batches of an earlier start no longer count."
    )
    batches_total = models.PositiveIntegerField(null=True, help_text="Unknown until all ids are read.")
    batches_done = models.PositiveIntegerField(default=0)
    written = models.PositiveBigIntegerField(default=0, help_text="Loaded and written.")
    skipped = models.PositiveBigIntegerField(default=0, help_text="Still cached, not loaded.")
    superseded = models.PositiveBigIntegerField(
        default=0, help_text="Invalidated during the load: not cached."
    )
    no_value = models.PositiveBigIntegerField(default=0, help_text="The loader has no value: key deleted.")
    failed = models.PositiveBigIntegerField(default=0, help_text="Not loaded or not stored.")
    queries = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0, help_text="Seconds of work, summed over the workers.")
    load_seconds = models.FloatField(default=0, help_text="Of these, in the loader.")
    encode_seconds = models.FloatField(default=0, help_text="In the cache's serializer.")
    write_seconds = models.FloatField(default=0, help_text="Waiting for the cache to write.")
    wait_seconds = models.FloatField(default=0, help_text="Waiting for a turn, or to load again.")
    error = models.TextField(blank=True)
    failures = models.JSONField(default=list, blank=True)

    objects = PrimaryManager.from_queryset(RunQuerySet)()

    class Meta(Row.Meta):
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
        return self.state not in ACTIVE

    @property
    def took(self) -> float | None:
        """Seconds from its start to its end, or to now; None before it starts."""
        if self.started_at is None:
            return None
        end: datetime = self.finished_at or timezone.now()
        return (end - self.started_at).total_seconds()

    @property
    def met_outage(self) -> bool:
        """Whether keys failed because the cache did not answer."""
        return any(failure["error"].startswith(OUTAGES) for failure in self.failures)

    @property
    def report(self) -> Report:
        """What has happened to the run's keys so far."""
        return Report(
            job=self.job,
            batches=self.batches_done,
            failures=tuple(Failure(**failure) for failure in self.failures),
            **{name: getattr(self, name) for name in FIGURES},
        )


class WarmingBatch(Row):
    """A batch of a run. Its row keeps a counted batch from being counted again if it is redelivered."""

    run = models.ForeignKey(WarmingRun, on_delete=models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    ids = models.JSONField(null=True, help_text="What a worker loads; null once the batch is counted.")
    worker = models.CharField(max_length=255, blank=True)
    recorded_at = models.DateTimeField(null=True, help_text="When it was counted.")

    objects = PrimaryManager["WarmingBatch"]()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="warmer_batch_counted_once")]

    def __str__(self) -> str:
        return f"batch {self.number} of run {self.run_id}"


class Job(WarmingRun):
    """The declared jobs, as the admin lists them; no rows of their own."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = "job"

    def __str__(self) -> str:
        return self.job
