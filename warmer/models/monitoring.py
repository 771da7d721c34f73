"""Monitoring data other than audits: the last observation of a job, its hours, beats, sums of ended runs."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import F
from django.utils import timezone

from warmer.declarations.registry import jobs
from warmer.declarations.spec import MAX_NAME_LENGTH
from warmer.models.routing import PrimaryManager, Row, atomic_for, put_row
from warmer.models.runs import State, WarmingRun
from warmer.report import Outcome
from warmer.stores import difference

# Not 100 %: keys that have just expired or been invalidated must not raise an alarm. In a small job, one or
# two keys are a larger share than this.
WARM_SHARE, WARM_SHARE_OF_SMALL, MISSING_OF_SMALL = 0.99, 0.9, 2
# Beat saves what it sent only every 3 minutes; our own entries are due every minute.
BEAT_SILENCE = timedelta(minutes=5)
# The last message of a restarted beat may arrive after the first of its successor.
LEAST_OVERLAP = timedelta(seconds=30)
# If changes overtake this share of the loads, the cache is hardly useful.
HOT_SHARE = 0.5
# How long the history of jobs is kept.
HOURS_KEPT = timedelta(days=8)


class JobObservation(Row):
    """The last observation of a job's keys and reads.

    After a failed attempt, `error` says why, and the rest is from the last successful one.
    """

    job = models.CharField(max_length=MAX_NAME_LENGTH, unique=True)
    attempted_at = models.DateTimeField(default=timezone.now, help_text="The last attempt, failed or not.")
    observed_at = models.DateTimeField(null=True, help_text="The last attempt that succeeded.")
    error = models.TextField(blank=True)
    cache = models.TextField(
        db_default="", help_text="How the process that observed it sees the job's cache."
    )

    declared = models.PositiveBigIntegerField(default=0, help_text="Declared ids, as far as they were read.")
    sampled = models.PositiveIntegerField(default=0, help_text="How many of their keys were looked up.")
    cached = models.PositiveIntegerField(default=0, help_text="How many of these are cached.")
    no_value = models.PositiveIntegerField(default=0, help_text="How many of the others have no value.")
    oldest_seconds = models.FloatField(null=True, help_text="Age of the oldest; null: unknown.")

    # Null: reads are not counted, or this cache keeps no counts.
    hits_hour = models.PositiveBigIntegerField(null=True)
    misses_hour = models.PositiveBigIntegerField(null=True)
    hits_day = models.PositiveBigIntegerField(null=True)
    misses_day = models.PositiveBigIntegerField(null=True)
    overtaken_hour = models.FloatField(
        null=True,
        help_text="The share of the loads by readers that changes overtook; null: unknown, or too few loads.",
    )

    # Null: also until some keys were watched for as long as a key lives.
    watched = models.PositiveIntegerField(null=True, help_text="Warm keys whose reads are recorded.")
    watched_read = models.PositiveIntegerField(null=True, help_text="How many of them were read.")
    watched_share = models.FloatField(null=True, help_text="The watched share of the declared keys.")
    watched_misses = models.PositiveBigIntegerField(null=True, help_text="Reads of watched keys that missed.")

    objects = PrimaryManager["JobObservation"]()

    def __str__(self) -> str:
        return f"observation of {self.job}"

    @property
    def coverage(self) -> float | None:
        """The cached share of the keys that have a value, 0 to 1; None if it is unknown."""
        with_value = self.sampled - self.no_value
        return self.cached / with_value if with_value > 0 else None

    @property
    def state(self) -> str | None:
        """`warm`, `partial` or `cold`; None if it is unknown, or the last attempt failed."""
        if self.error or self.coverage is None:
            return None
        missing = self.sampled - self.no_value - self.cached
        if self.coverage >= (WARM_SHARE_OF_SMALL if missing <= MISSING_OF_SMALL else WARM_SHARE):
            return "warm"
        return "partial" if self.cached else "cold"

    @property
    def is_hot(self) -> bool:
        """Whether the job changes faster than it can be loaded."""
        return self.overtaken_hour is not None and self.overtaken_hour >= HOT_SHARE

    @property
    def hit_rate_hour(self) -> float | None:
        """The share of the last hour's reads that hit, 0 to 1; None without reads."""
        return share_of(self.hits_hour, self.misses_hour)

    @property
    def hit_rate_day(self) -> float | None:
        """The share of the last day's reads that hit, 0 to 1; None without reads."""
        return share_of(self.hits_day, self.misses_day)

    @property
    def effectiveness(self) -> float | None:
        """The share of the warm keys that were read within the life of a key, 0 to 1."""
        return self.watched_read / self.watched if self.watched and self.watched_read is not None else None

    @property
    def missed_while_declared(self) -> int | None:
        """About how many reads of declared keys missed within the life of a key; None if it is unknown."""
        if self.watched_misses is None or not self.watched_share:
            return None
        return round(self.watched_misses / self.watched_share)


class BeatQuerySet(models.QuerySet["BeatProcess"]):
    """Processes of beat."""

    def note(self, name: str) -> None:
        """Record that a process sent a message; delete those that were silent for a day."""
        now = timezone.now()
        self.update_or_create(name=name, defaults={"last_at": now})
        self.filter(last_at__lt=now - timedelta(days=1)).delete()

    def at_once(self) -> list[str]:
        """Return the processes that send messages while another does, sorted; restarts do not count."""
        recent = self.filter(last_at__gt=timezone.now() - BEAT_SILENCE).order_by("name")
        began = max((each.first_at for each in recent), default=None)  # the newest
        names = [each.name for each in recent if began and each.last_at - began >= LEAST_OVERLAP]
        return names if len(names) > 1 else []


class BeatProcess(Row):
    """A process of beat. There should be only one."""

    name = models.CharField(max_length=255, unique=True, help_text="Its process id and host.")
    first_at = models.DateTimeField(
        default=timezone.now, help_text="Its first message that a worker received."
    )
    last_at = models.DateTimeField(help_text="Its last.")

    objects = PrimaryManager.from_queryset(BeatQuerySet)()

    def __str__(self) -> str:
        return self.name


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


class TotalQuerySet(models.QuerySet["RunTotal"]):
    """Sums of ended runs."""

    def add(self, run: WarmingRun) -> None:
        """Add a run that has ended."""
        waited = (run.started_at - run.requested_at).total_seconds() if run.started_at else 0.0
        added = {
            "runs": 1,
            "started": int(run.started_at is not None),
            "wait_seconds": max(0.0, waited),
            "took_seconds": run.took or 0.0,
            "work_seconds": run.seconds,
            "batches": run.batches_done,
            "queries": run.queries,
            **{outcome.value: getattr(run, outcome.value) for outcome in Outcome},
        }
        ended = run.finished_at or timezone.now()
        with atomic_for(self.model):
            which = {"job": run.job, "trigger": run.trigger, "state": run.state}
            put_row(self, which, last_at=ended, **{name: F(name) + n for name, n in added.items()})
            JobHour.objects.put(
                run.job,
                ended,
                runs=F("runs") + added["started"],
                run_seconds=F("run_seconds") + added["took_seconds"],
                failed_runs=F("failed_runs") + int(run.state not in (State.COMPLETE, State.CANCELLED)),
            )


class RunTotal(Row):
    """The sums of a job's ended runs. They only grow: deleted runs stay counted."""

    job = models.CharField(max_length=MAX_NAME_LENGTH)
    trigger = models.CharField(max_length=10)
    state = models.CharField(max_length=10)
    last_at = models.DateTimeField(default=timezone.now, help_text="When the last of them ended.")
    runs = models.PositiveBigIntegerField(default=0)
    started = models.PositiveBigIntegerField(default=0, help_text="How many of them a worker started.")
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

    objects = PrimaryManager.from_queryset(TotalQuerySet)()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["job", "trigger", "state"], name="warmer_total_once")]

    def __str__(self) -> str:
        return f"{self.state} runs of {self.job} by {self.trigger}"


def elsewhere(observations: Iterable[JobObservation]) -> dict[str, list[str]]:
    """Return how the caches of the observing workers differ from ours, each with its jobs."""
    found: dict[str, list[str]] = {}
    for row in sorted(observations, key=lambda row: row.job):
        if row.job in jobs and (text := difference(row.cache, jobs[row.job].spec.cache)):
            found.setdefault(text, []).append(row.job)
    return found


def start_of_hour(moment: datetime) -> datetime:
    """Return the start of the hour that contains a time."""
    return moment.replace(minute=0, second=0, microsecond=0)


def share_of(hits: int | None, misses: int | None) -> float | None:
    """Return the share of reads that hit; None without reads, or if they are not counted."""
    return hits / (hits + misses) if hits is not None and misses is not None and hits + misses else None
