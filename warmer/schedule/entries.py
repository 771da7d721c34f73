"""Beat's entries for the jobs: finding them, their due times, and the gaps between these."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.db.models import Model
from django.forms import model_to_dict
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks

from warmer.conf import as_django
from warmer.declarations.spec import JobSpec
from warmer.exceptions import WarmerError
from warmer.humanize import duration
from warmer.models import rows_of
from warmer.tasks import scheduled_run

UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
"""Beat's units of an interval, in seconds."""
CRONTAB_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
# How far ahead the times of a crontab are examined.
HORIZON_DAYS = 2 * 366
MINUTES_A_DAY = 24 * 60
_KINDS = ("interval", "crontab", "solar", "clocked")


class ScheduleError(WarmerError):
    """A job's schedule cannot be read or set; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The shortest and the longest gap between consecutive times of a schedule."""

    shortest: timedelta
    longest: timedelta


@dataclass(frozen=True)
class Entry:
    """A job's entry: a view of beat's row."""

    task: PeriodicTask

    def __str__(self) -> str:
        return self.text if self.enabled else f"{self.text}, paused"

    @property
    def text(self) -> str:
        """A description of its schedule, e.g. "every 15 min"; beat's own, if it is not an interval."""
        if self.interval is not None:
            return f"every {duration(self.interval)}"
        return str(self.task.scheduler).replace(" (m/h/dM/MY/d)", "")

    @property
    def enabled(self) -> bool:
        """Whether beat sends it."""
        return bool(self.task.enabled)

    def due(self, run_at: datetime | None = None) -> datetime | None:
        """Return when it is due next; None if it is not enabled.

        Args:
            run_at: when it last requested a run, if known. Beat saves this only every three minutes.
        """
        if not self.enabled:
            return None
        schedule, last = self.task.schedule, self.task.last_run_at or self.task.date_changed
        if run_at is not None:
            last = max(last, _as_beat(run_at))
        due: datetime = schedule.now() + schedule.remaining_estimate(last)
        return as_django(due)

    @property
    def interval(self) -> timedelta | None:
        """Its interval; None for any other kind of schedule."""
        every: timedelta | None = self.task.interval.schedule.run_every if self.task.interval else None
        return every

    @property
    def crontab(self) -> str:
        """The five fields of its crontab; empty for any other kind of schedule."""
        row = self.task.crontab
        return " ".join(getattr(row, name) for name in CRONTAB_FIELDS) if row else ""

    @property
    def gaps(self) -> Gaps | None:
        """The gaps between its times; None for solar events and for a single date."""
        schedule = self.task.interval or self.task.crontab
        return gaps_of(schedule) if schedule else None


def entry_name(job: str) -> str:
    """Return the name of a job's entry."""
    return f"warm {job}"


def entries(jobs: Iterable[str] | None = None) -> dict[str, Entry]:
    """Return the entry of each job that has one, or of some jobs, in one query."""
    tasks = rows_of(PeriodicTask).filter(task=scheduled_run.name).select_related(*_KINDS)
    if jobs is not None:
        tasks = tasks.filter(name__in=[entry_name(job) for job in jobs])
    by_job = {task.name.removeprefix(entry_name("")): task for task in tasks}
    return {job: Entry(task) for job, task in by_job.items() if _runs(task, job)}


def paused() -> set[str]:
    """Return the jobs whose entry is switched off, in one query."""
    return {job for job, entry in entries().items() if not entry.enabled}


def entry_of(spec: JobSpec) -> Entry | None:
    """Return a job's entry, if it has one.

    Raises:
        ScheduleError: the entry was changed to run something else.
    """
    task = rows_of(PeriodicTask).filter(name=entry_name(spec.name)).select_related(*_KINDS).first()
    if task is not None and not _runs(task, spec.name):
        raise ScheduleError(
            f"The periodic task {task.name!r} no longer runs this job: it was given another task or other "
            "arguments. Delete it, and run 'manage.py warm_schedule'."
        )
    return Entry(task) if task else None


def saved(schedule: Any) -> Any:
    """Return beat's row that equals an interval or a crontab, or save this one."""
    fields = model_to_dict(schedule, exclude=["id"])
    found = rows_of(type(schedule)).filter(**fields).first()  # there may be several, any of which will do
    if found is None:
        schedule.save()
    return found or schedule


def in_largest_unit(interval: timedelta) -> tuple[int, str]:
    """Return an interval as an operator would write it: a number and the largest unit that divides it."""
    seconds = round(interval.total_seconds())
    unit = next(unit for unit, size in UNITS.items() if seconds % size == 0)
    return seconds // UNITS[unit], unit


def begin(task: PeriodicTask) -> None:
    """Set the start from which an entry counts its interval.

    If unset, it counts from its last change, which beat interprets as UTC; with `USE_TZ` off, that may be
    hours off.
    """
    if not task.enabled:
        task.last_run_at = None  # as beat does
    elif task.last_run_at is None and not settings.USE_TZ:
        task.last_run_at = datetime.now(UTC).replace(tzinfo=None)


def time_of_beat(moment: datetime | None) -> datetime | None:
    """Convert a time of beat to Django's form: with `USE_TZ` off, beat writes UTC."""
    if moment is None or timezone.is_aware(moment):
        return moment
    return as_django(moment.replace(tzinfo=UTC))


def _as_beat(moment: datetime) -> datetime:
    """Convert a Django time to beat's form."""
    if settings.USE_TZ:
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone()).astimezone(UTC).replace(tzinfo=None)


def save(task: PeriodicTask) -> None:
    """Save an entry, and notify beat.

    Its own `save()` checks for an equal name on the database that the router gives for reads, and a replica
    may not even have the table yet.
    """
    begin(task)
    Model.save(task)
    PeriodicTasks.changed(task)


def gaps_of(schedule: IntervalSchedule | CrontabSchedule) -> Gaps:
    """Return the gaps between the times of an interval, or of a crontab in the next two years.

    Daylight saving time is ignored.

    Raises:
        Exception: anything Celery raises for an invalid crontab; or it is hardly ever due.
    """
    times = schedule.schedule
    if isinstance(schedule, IntervalSchedule):
        return Gaps(shortest=times.run_every, longest=times.run_every)
    minutes = sorted(60 * hour + minute for hour in times.hour for minute in times.minute)
    today = datetime.now(UTC).date()
    days = [
        number
        for number, day in enumerate(today + timedelta(ahead) for ahead in range(HORIZON_DAYS))
        if day.day in times.day_of_month
        and day.month in times.month_of_year
        and day.isoweekday() % 7 in times.day_of_week
    ]
    if len(days) < 2:
        raise ValueError("it is due less than twice in two years")
    gaps = [later - earlier for earlier, later in pairwise(minutes)]
    overnight = minutes[0] - minutes[-1]
    gaps += [(later - earlier) * MINUTES_A_DAY + overnight for earlier, later in pairwise(days)]
    return Gaps(shortest=timedelta(minutes=min(gaps)), longest=timedelta(minutes=max(gaps)))


def _runs(task: PeriodicTask, job: str) -> bool:
    """Return whether an entry has the arguments that make it run a job."""
    return bool(task.task == scheduled_run.name and task.args == json.dumps([job]))
