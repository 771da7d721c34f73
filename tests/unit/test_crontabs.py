"""How far apart the times of a crontab are."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from warmer.schedule.crontabs import Crontab, Gaps, gaps

EVERY = {"minutes": {0}, "hours": {0}, "days": range(1, 32), "months": range(1, 13), "weekdays": range(7)}
A_SUNDAY = date(2026, 11, 22)


def gaps_of(**fields: Any) -> Gaps | None:
    return gaps(Crontab(**EVERY | fields), first=A_SUNDAY)


@pytest.mark.parametrize(
    ("fields", "shortest", "longest"),
    [
        ({}, timedelta(days=1), timedelta(days=1)),
        ({"minutes": range(60), "hours": range(24)}, timedelta(minutes=1), timedelta(minutes=1)),
        ({"minutes": {5, 20}, "hours": range(24)}, timedelta(minutes=15), timedelta(minutes=45)),
        ({"hours": range(8, 19)}, timedelta(hours=1), timedelta(hours=14)),
        ({"weekdays": {1, 2, 3, 4, 5}}, timedelta(days=1), timedelta(days=3)),
        ({"days": {1}}, timedelta(days=28), timedelta(days=31)),
        ({"days": {29}, "months": {2}}, timedelta(days=1464), timedelta(days=1464)),
    ],
)
def test_gaps__are_the_shortest_and_the_longest(
    fields: dict[str, Any], shortest: timedelta, longest: timedelta
) -> None:
    assert gaps_of(**fields) == Gaps(shortest=shortest, longest=longest)


def test_gaps__of_a_day_that_never_comes() -> None:
    assert gaps_of(days={31}, months={2, 4}) is None
