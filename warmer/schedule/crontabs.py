"""How far apart the times of a crontab are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

# From one 29 February to the next.
DAYS_LOOKED_AT = 4 * 366


@dataclass(frozen=True, kw_only=True)
class Crontab:
    """The times of a crontab, as sets. A day must be in all three of `days`, `months` and `weekdays`.

    Attributes:
        weekdays: 0 is Sunday.
    """

    minutes: Collection[int]
    hours: Collection[int]
    days: Collection[int]
    months: Collection[int]
    weekdays: Collection[int]

    def has(self, day: date) -> bool:
        """Say whether anything happens on a day."""
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The shortest and the longest time between two that follow each other."""

    shortest: timedelta
    longest: timedelta


def gaps(crontab: Crontab, *, first: date) -> Gaps | None:
    """Return how far apart the times of a crontab are in the years from a day on; None when it has none.

    A change to summer time is not looked at: it makes a gap an hour shorter or longer.
    """
    candidates = (first + timedelta(days=number) for number in range(DAYS_LOOKED_AT))
    days = [day for day in candidates if crontab.has(day)]
    if not days:
        return None
    times = sorted(
        timedelta(hours=hour, minutes=minute) for hour in crontab.hours for minute in crontab.minutes
    )
    found = [later - earlier for earlier, later in pairwise(times)]
    found += [later - earlier + times[0] - times[-1] for earlier, later in pairwise(days)]
    if len(days) == 1:
        found.append(timedelta(days=DAYS_LOOKED_AT))
    return Gaps(shortest=min(found), longest=max(found))
