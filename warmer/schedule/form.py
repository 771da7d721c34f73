"""The form for a job's entry in beat: when it is due, and whether it is on. Nothing else.

The task and its arguments are derived from the job's name, never from a request, and no other entry is read
or written here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from warmer.declarations.spec import JobSpec
from warmer.humanize import duration
from warmer.models import atomic_for
from warmer.schedule.entries import UNITS, ScheduleError, entry_name, entry_of, interval_row, shortest_gap
from warmer.schedule.sync import follow_code, save, set_schedule, sync_job

INTERVAL, CRONTAB = "interval", "crontab"
CRONTAB_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
SHORTEST, LONGEST = timedelta(seconds=30), timedelta(days=30)


class ScheduleForm(forms.Form):
    """An interval or a crontab that suits the timeout of a job's keys, and on or off."""

    kind = forms.ChoiceField(choices=[(kind, kind) for kind in (INTERVAL, CRONTAB)])
    number = forms.IntegerField(
        min_value=1,
        max_value=round(LONGEST.total_seconds()),
        required=False,
        help_text="From 30 seconds to 30 days, and shorter than the timeout of the keys.",
    )
    unit = forms.ChoiceField(choices=[(unit, unit) for unit in reversed(UNITS)], required=False)
    crontab = forms.CharField(
        max_length=200,
        required=False,
        help_text="Five fields: minute, hour, day of month, month, day of week. E.g. */10 8-18 * * mon-fri",
    )
    enabled = forms.BooleanField(label="On: the schedule refreshes this job", required=False)
    why = forms.CharField(max_length=200, required=False)

    def __init__(self, spec: JobSpec, data: Any = None) -> None:
        super().__init__(data, initial=_initial(spec))
        self._spec = spec
        self._schedule: IntervalSchedule | CrontabSchedule

    def clean(self) -> dict[str, Any]:
        """Check the chosen kind of schedule with beat's own validators, and against the keys' timeout."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        is_crontab = cleaned["kind"] == CRONTAB
        try:
            self._schedule = _crontab(cleaned) if is_crontab else _interval(cleaned)
            life, gap = self._spec.timeout - self._spec.jitter, shortest_gap(self._schedule)
            if life <= gap:
                raise ValidationError(
                    f"Keys of {self._spec.name} live {duration(life)}, but at least {duration(gap)} pass "
                    "between two refreshes: they expire before each. Choose more frequent times, or raise "
                    "timeout= in the declaration."
                )
        except ValidationError as error:
            self.add_error("crontab" if is_crontab else "number", error)
        return cleaned

    def save(self) -> None:
        """Set the entry of the job, creating it if necessary.

        Raises:
            ScheduleError: the job is not scheduled, or its entry runs something else.
        """
        with _edited(self._spec) as task:
            set_schedule(task, self._schedule)
            task.enabled = self.cleaned_data["enabled"]


def reset(spec: JobSpec) -> None:
    """Reset a job's entry to its declaration, so that it follows the code again.

    Raises:
        ScheduleError: the job is not scheduled, or its entry runs something else.
    """
    with _edited(spec) as task:
        assert spec.every is not None
        follow_code(task, spec.every)
        task.enabled = True


def switch(spec: JobSpec, *, on: bool) -> None:
    """Switch the schedule of a job on or off.

    Raises:
        ScheduleError: the job is not scheduled, or its entry runs something else.
    """
    with _edited(spec) as task:
        task.enabled = on


@contextmanager
def _edited(spec: JobSpec) -> Iterator[PeriodicTask]:
    """Yield the entry of a job, created if necessary, and save it after the block."""
    if spec.every is None:
        raise ScheduleError(f"{spec.name} is not scheduled: its declaration has every=None.")
    with atomic_for(PeriodicTask):
        sync_job(spec)  # it may be missing
        entry = entry_of(spec)
        if entry is None:
            raise ScheduleError(
                f"The periodic task {entry_name(spec.name)!r} no longer runs this job: it was given another "
                "task or other arguments. Delete it, and run 'manage.py warm_schedule'."
            )
        yield entry.task
        save(entry.task)


def _initial(spec: JobSpec) -> dict[str, Any]:
    """Return the initial values of the form: those of the entry, or the declared ones."""
    entry = entry_of(spec)
    initial: dict[str, Any] = {"enabled": entry is None or entry.enabled, "kind": INTERVAL}
    if entry is not None and (row := entry.task.crontab):
        return initial | {"kind": CRONTAB, "crontab": " ".join(getattr(row, name) for name in CRONTAB_FIELDS)}
    every = entry.interval if entry else spec.every
    if every is None:  # e.g. a solar event
        return initial
    interval = interval_row(every)
    return initial | {"number": interval.every, "unit": interval.period}


def _interval(cleaned: dict[str, Any]) -> IntervalSchedule:
    number, unit = cleaned["number"], cleaned["unit"]
    if number is None or not unit or not SHORTEST <= timedelta(**{unit: number}) <= LONGEST:
        raise ValidationError("Enter a number and its unit, from 30 seconds to 30 days.")
    return IntervalSchedule(every=number, period=unit)


def _crontab(cleaned: dict[str, Any]) -> CrontabSchedule:
    fields = cleaned["crontab"].split()
    if len(fields) != len(CRONTAB_FIELDS):
        raise ValidationError(
            "Enter five fields: minute, hour, day of month, month and day of week, e.g. '*/10 8-18 * * *'."
        )
    crontab = CrontabSchedule(**dict(zip(CRONTAB_FIELDS, fields, strict=True)))
    try:
        crontab.full_clean()
        crontab.schedule.remaining_estimate(timezone.now())  # raises if it is never due, e.g. on February 31
    except Exception as error:  # noqa: BLE001 - Celery's parser raises what it likes
        wrong = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise ValidationError(f"This is not a crontab: {wrong}") from None
    return crontab
