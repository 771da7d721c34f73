"""What an operator sets of a job's entry in beat: when it is due, and whether it is on. Nothing else.

A job's entry is the one that `schedule.sync` makes. Its task and its arguments come from the job's name,
never from a request, and no other entry is read or written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from warmer.declarations.spec import JobSpec
from warmer.exceptions import WarmerError
from warmer.models import JobSchedule
from warmer.schedule.crontabs import Gaps
from warmer.schedule.entry import KINDS, entry_name, job_of
from warmer.schedule.syncing import sync_job
from warmer.schedule.timings import gaps_of, interval, seconds_of
from warmer.tasks import scheduled_run

SHORTEST, LONGEST = timedelta(seconds=30), timedelta(days=30)
CRONTAB_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class ScheduleError(WarmerError):
    """A job cannot be scheduled so; the message says what can."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When a job is refreshed: every so often, or at the times of a crontab.

    Attributes:
        crontab: minute, hour, day of month, month and day of week, with spaces between.
        enabled: whether beat sends it.
        other: what an operator set elsewhere that is neither, e.g. sunrise.
        timezone: that of the crontab.
    """

    every: timedelta | None = None
    crontab: str = ""
    enabled: bool = True
    other: str = ""
    timezone: str = ""

    def __str__(self) -> str:
        if self.every is not None:
            when = f"every {in_words(self.every)}"
        else:
            when = f"crontab {self.crontab} ({self.timezone})" if self.crontab else self.other
        return when if self.enabled else f"{when}, paused"


def declared(spec: JobSpec) -> Timing | None:
    """Return what code says; None for a job that is not scheduled."""
    return None if spec.every is None else Timing(every=spec.every)


def current(spec: JobSpec) -> Timing | None:
    """Return what is in force; None when the job has no entry yet."""
    task = _find(spec)
    if task is None:
        return None
    every = seconds_of(task)
    crontab = task.crontab
    return Timing(
        every=None if every is None else timedelta(seconds=every),
        crontab=" ".join(getattr(crontab, name) for name in CRONTAB_FIELDS) if crontab else "",
        timezone=str(crontab.timezone) if crontab else "",
        enabled=task.enabled,
        other="" if every is not None or crontab else str(task.scheduler),
    )


def set_timing(spec: JobSpec, timing: Timing) -> str:
    """Set when a job is refreshed, and whether it is.

    Returns:
        What the operator should know of it; mostly nothing.

    Raises:
        ScheduleError: out of bounds, or keys would expire before each refresh.
    """
    with transaction.atomic():
        task = _entry(spec)
        if timing.every is not None:
            every, note = _checked_interval(spec, timing.every), ""
            task.interval, task.crontab = interval(every), None
            task.expire_seconds = every
        else:
            task.interval, task.crontab = None, _crontab(timing.crontab)
            found, note = _checked_gaps(spec, task.crontab)
            task.expire_seconds = round(found.shortest.total_seconds())
        task.solar = task.clocked = None
        task.enabled = timing.enabled
        task.save()
    return note


def reset(spec: JobSpec) -> None:
    """Set a job's entry to what code says, so that it follows the code again."""
    timing = declared(spec)
    if timing is None or timing.every is None:
        raise ScheduleError(_not_scheduled(spec))
    seconds = round(timing.every.total_seconds())
    with transaction.atomic():
        task = _entry(spec)
        task.interval, task.crontab, task.solar, task.clocked = interval(seconds), None, None, None
        task.expire_seconds, task.enabled = seconds, True
        task.save()
        JobSchedule.objects.update_or_create(job=spec.name, defaults={"declared_seconds": seconds})


def switch(spec: JobSpec, *, on: bool) -> bool:
    """Have beat send a job, or not; return whether that is a change.

    Raises:
        ScheduleError: the job is not scheduled.
    """
    with transaction.atomic():
        task = _entry(spec)
        if task.enabled == on:
            return False
        task.enabled = on
        task.save()
    return True


def in_words(length: timedelta) -> str:
    """Return a length of time in the largest unit that it is a whole number of."""
    seconds = round(length.total_seconds())
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _find(spec: JobSpec) -> PeriodicTask | None:
    named = PeriodicTask.objects.filter(name=entry_name(spec.name))
    task = named.select_related(*KINDS).first()
    if task is None or (task.task == scheduled_run.name and job_of(task.args) == spec.name):
        return task
    raise ScheduleError(
        f"The periodic task {task.name!r} no longer runs this job: somebody gave it another task or other "
        "arguments. Delete it, and run 'manage.py warm_schedule'."
    )


def _entry(spec: JobSpec) -> PeriodicTask:
    """Return a job's entry to change it; one that is missing is made, as a sync would."""
    if spec.every is None:
        raise ScheduleError(_not_scheduled(spec))
    task = _find(spec)
    if task is None:
        sync_job(spec)
        task = _find(spec)
    assert task is not None
    return task


def _not_scheduled(spec: JobSpec) -> str:
    return f"{spec.name} is not scheduled: its declaration has every=None."


def _life(spec: JobSpec) -> timedelta:
    """Return how long a key surely lives."""
    return spec.timeout - spec.jitter


def _checked_interval(spec: JobSpec, every: timedelta) -> int:
    seconds = every.total_seconds()
    if not SHORTEST <= every <= LONGEST or seconds != int(seconds):
        raise ScheduleError(
            f"Expected a whole number of seconds from {in_words(SHORTEST)} to {in_words(LONGEST)}."
        )
    if _life(spec) <= every:
        raise ScheduleError(
            f"Keys of {spec.name} live {in_words(_life(spec))}: with a refresh every {in_words(every)} they "
            "expire before it. Choose a shorter interval, or raise timeout= in the declaration."
        )
    return int(seconds)


def _checked_gaps(spec: JobSpec, crontab: CrontabSchedule) -> tuple[Gaps, str]:
    found = gaps_of(crontab)
    if found is None:
        raise ScheduleError("This crontab never comes due: no day is in all of its three day fields.")
    life = _life(spec)
    if life <= found.shortest:
        raise ScheduleError(
            f"Keys of {spec.name} live {in_words(life)}, and at least {in_words(found.shortest)} lie between "
            "two times of this crontab: keys expire before each refresh. Name more times, or raise timeout= "
            "in the declaration."
        )
    if life <= found.longest:
        hours = timedelta(hours=round(found.longest / timedelta(hours=1))) or found.longest
        return found, (
            f"About {in_words(hours)} lie between some times of this crontab, and keys live "
            f"{in_words(life)}: in between they are loaded by their readers."
        )
    return found, ""


def _crontab(text: str) -> CrontabSchedule:
    fields = text.split()
    if len(fields) != len(CRONTAB_FIELDS):
        raise ScheduleError(
            "Expected five fields: minute, hour, day of month, month and day of week, e.g. '*/10 8-18 * * *'."
        )
    values = dict(zip(CRONTAB_FIELDS, fields, strict=True))
    crontab = CrontabSchedule(**values)
    try:
        crontab.full_clean()
        crontab.schedule  # noqa: B018 - Celery's own reading of it
    except ValidationError as error:
        wrong = "; ".join(f"{name}: {' '.join(said)}" for name, said in error.message_dict.items())
        raise ScheduleError(f"This is no crontab: {wrong}") from None
    except Exception as error:  # noqa: BLE001 - Celery's parser has an exception of its own
        raise ScheduleError(f"This is no crontab: {error}") from None
    # Equal ones may exist several times: any of them will do.
    same = CrontabSchedule.objects.filter(timezone=crontab.timezone, **values).first()
    if same is None:
        crontab.save()
    return same or crontab
