"""The history of jobs, by hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.utils import timezone

from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.models.routing import PrimaryManager, Row, put_row

HOURS_KEPT = timedelta(days=8)


class HourQuerySet(models.QuerySet["JobHour"]):
    """Hours of jobs."""

    def put(self, job: str, moment: datetime, **values: Any) -> None:
        """Update the hour of a job that contains a time."""
        put_row(self, {"job": job, "hour": start_of_hour(moment)}, **values)

    def forget(self) -> None:
        """Delete hours older than `HOURS_KEPT`."""
        self.filter(hour__lt=timezone.now() - HOURS_KEPT).delete()


class JobHour(Row):
    """A job's observations and ended runs within an hour."""

    job = models.CharField(max_length=MAX_NAME_LENGTH)
    hour = models.DateTimeField(help_text="Its start.")
    observed = models.PositiveIntegerField(default=0, help_text="How often the job's keys were looked up.")
    coverage_sum = models.FloatField(default=0, help_text="The cached shares that these found, summed.")
    coverage_min = models.FloatField(default=1, help_text="The lowest of them.")
    pending_max = models.PositiveBigIntegerField(null=True, help_text="The most pending invalidations.")
    hits = models.PositiveBigIntegerField(default=0)
    misses = models.PositiveBigIntegerField(default=0)
    runs = models.PositiveIntegerField(default=0, help_text="How many runs ended that a worker started.")
    failed_runs = models.PositiveIntegerField(default=0, help_text="How many runs did not complete.")
    run_seconds = models.FloatField(default=0, help_text="From the start to the end of runs, summed.")

    objects = PrimaryManager.from_queryset(HourQuerySet)()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["job", "hour"], name="warmer_hour_once")]

    def __str__(self) -> str:
        return f"{self.job} at {self.hour:%Y-%m-%d %H:%M}"

    @property
    def coverage(self) -> float | None:
        """The mean cached share, 0 to 1; None if it was not observed."""
        return self.coverage_sum / self.observed if self.observed else None

    @property
    def hit_rate(self) -> float | None:
        """The share of the reads that hit, 0 to 1; None without reads."""
        return share_of(self.hits, self.misses)

    @property
    def mean_seconds(self) -> float | None:
        """The mean duration of the runs; None without runs."""
        return self.run_seconds / self.runs if self.runs else None


def start_of_hour(moment: datetime) -> datetime:
    """Return the start of the hour that contains a time."""
    return moment.replace(minute=0, second=0, microsecond=0)


def share_of(hits: int | None, misses: int | None) -> float | None:
    """Return the share of reads that hit; None without reads, or if they are not counted."""
    return hits / (hits + misses) if hits is not None and misses is not None and hits + misses else None
