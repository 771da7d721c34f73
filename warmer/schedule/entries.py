"""Beat's entries for the jobs: finding them, and when they are due."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise

from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from warmer.conf import as_django
from warmer.declarations.spec import JobSpec
from warmer.exceptions import WarmerError
from warmer.humanize import duration
from warmer.models import rows_of
from warmer.tasks import scheduled_run

UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
"""Beat's units of an interval, in seconds."""
# Five years, in which even a February 29 occurs twice.
_DAYS = [date(2000, 1, 1) + timedelta(days=number) for number in range(5 * 366)]


class ScheduleError(WarmerError):
    """A job's schedule cannot be read or set; the message says why."""


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
        schedule, last = self.task.schedule, aware(self.task.last_run_at or self.task.date_changed, UTC)
        if run_at is not None:
            last = max(last, aware(run_at, timezone.get_default_timezone()))
        return as_django(schedule.now() + schedule.remaining_estimate(last))

    @property
    def interval(self) -> timedelta | None:
        """Its interval; None for any other kind of schedule."""
        every: timedelta | None = self.task.interval.schedule.run_every if self.task.interval else None
        return every

    @property
    def shortest_gap(self) -> timedelta | None:
        """The shortest time between two of its runs; None for solar events and for a single date."""
        schedule = self.task.interval or self.task.crontab
        return shortest_gap(schedule) if schedule else None


def entry_name(job: str) -> str:
    """Return the name of a job's entry."""
    return f"warm {job}"


def entries(jobs: Iterable[str] | None = None) -> dict[str, Entry]:
    """Return the entry of each job that has one, or of some jobs, in one query.

    An entry that an operator gave another task or other arguments is none.
    """
    tasks = rows_of(PeriodicTask).filter(task=scheduled_run.name)
    tasks = tasks.select_related("interval", "crontab", "solar", "clocked")
    if jobs is not None:
        tasks = tasks.filter(name__in=[entry_name(job) for job in jobs])
    by_job = {task.name.removeprefix(entry_name("")): task for task in tasks}
    return {job: Entry(task) for job, task in by_job.items() if task.args == json.dumps([job])}


def entry_of(spec: JobSpec) -> Entry | None:
    """Return a job's entry, if it has one."""
    return entries([spec.name]).get(spec.name)


def interval_row(every: timedelta) -> IntervalSchedule:
    """Return an interval as an operator would write it, in the largest unit that divides it; not saved."""
    seconds = round(every.total_seconds())
    unit = next(unit for unit, size in UNITS.items() if seconds % size == 0)
    return IntervalSchedule(every=seconds // UNITS[unit], period=unit)


def aware(moment: datetime, zone: tzinfo) -> datetime:
    """Return a time with its zone; with `USE_TZ` off, beat writes naive times in UTC, Django local ones."""
    return moment if timezone.is_aware(moment) else moment.replace(tzinfo=zone)


def shortest_gap(schedule: IntervalSchedule | CrontabSchedule) -> timedelta:
    """Return the shortest time between two runs, regardless of daylight saving time."""
    times = schedule.schedule
    if isinstance(schedule, IntervalSchedule):
        every: timedelta = times.run_every
        return every
    moments = sorted(timedelta(hours=hour, minutes=minute) for hour in times.hour for minute in times.minute)
    days = [day for day in _DAYS if day.month in times.month_of_year and day.day in times.day_of_month]
    days = [day for day in days if day.isoweekday() % 7 in times.day_of_week]
    apart = min((later - earlier for earlier, later in pairwise(days)), default=timedelta(days=len(_DAYS)))
    return min(later - earlier for earlier, later in pairwise([*moments, moments[0] + apart]))
