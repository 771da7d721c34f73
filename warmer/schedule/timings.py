"""Beat's own rows for intervals and crontabs, as lengths of time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from warmer.schedule.crontabs import Crontab, Gaps, gaps


def interval(seconds: int) -> IntervalSchedule:
    """Return the interval in the largest unit that fits, as an operator would write it."""
    for unit, size in ((IntervalSchedule.HOURS, 3600), (IntervalSchedule.MINUTES, 60)):
        if seconds % size == 0:
            every, period = seconds // size, unit
            break
    else:
        every, period = seconds, IntervalSchedule.SECONDS
    found = IntervalSchedule.objects.filter(every=every, period=period).first()
    return found or IntervalSchedule.objects.create(every=every, period=period)


def seconds_of(task: PeriodicTask) -> int | None:
    """Return an entry's interval in seconds; None when an operator gave it another kind of schedule."""
    interval: Any = task.interval
    if interval is None:
        return None
    return round(timedelta(**{interval.period: interval.every}).total_seconds())


def gaps_of(crontab: CrontabSchedule) -> Gaps | None:
    """Return how far apart a crontab's times are, from today on; None when it never comes due."""
    times = crontab.schedule
    return gaps(
        Crontab(
            minutes=times.minute,
            hours=times.hour,
            days=times.day_of_month,
            months=times.month_of_year,
            weekdays=times.day_of_week,
        ),
        first=datetime.now(crontab.timezone).date(),
    )
