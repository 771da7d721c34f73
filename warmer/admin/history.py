"""The history of a job: charts of the last day or week, hour by hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from warmer.admin.charts import Step, chart
from warmer.humanize import counted, duration, local, percent
from warmer.models import JobHour, start_of_hour

SPANS = {"day": 24, "week": 7 * 24}
"""The number of hours that the charts show."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A quantity that is drawn over time.

    Attributes:
        field: the attribute of an hour.
        unknown: the text for an hour without a value.
        top: the upper end of the scale; None: the highest value.
        lowest: the attribute with the lowest value within the hour, where `field` is the mean.
    """

    name: str
    field: str
    text: Callable[[float], str]
    unknown: str
    top: float | None = None
    lowest: str = ""
    details: Callable[[JobHour], str] = lambda hour: ""


MEASURES = (
    Measure(
        name="In the cache",
        field="coverage",
        text=percent,
        unknown="not observed",
        top=1.0,
        lowest="coverage_min",
        details=lambda hour: f", at lowest {percent(hour.coverage_min)}",
    ),
    Measure(
        name="Hit rate",
        field="hit_rate",
        text=percent,
        unknown="no reads counted",
        top=1.0,
        details=lambda hour: f" of {counted(hour.hits + hour.misses, 'read')}",
    ),
    Measure(
        name="Duration",
        field="mean_seconds",
        text=lambda value: f"{value:.2f} s" if value < 60 else duration(value),
        unknown="no runs",
        details=lambda hour: f", {counted(hour.runs, 'run')}",
    ),
    Measure(name="Pending invalidations", field="pending_max", text="{:,.0f}".format, unknown="not observed"),
)


def charts(job: str, span: str, *, counts_reads: bool) -> list[dict[str, Any]]:
    """Return the charts of a job, with one query; none if there is no data for the period.

    Each has the last known value, the extremes as `summary`, and the ends of the scale. There is no chart of
    the hit rate where reads are not counted.
    """
    first = start_of_hour(timezone.now()) - timedelta(hours=SPANS[span] - 1)
    known = {row.hour: row for row in JobHour.objects.filter(job=job, hour__gte=first)}
    hours = [first + timedelta(hours=number) for number in range(SPANS[span])]
    every, form = (6, "%H:%M") if span == "day" else (24, "%a")
    ticks = {x: f"{hour:{form}}" for x, hour in enumerate(map(local, hours)) if hour.hour % every == 0}
    rows = [(f"{local(hour):%a %H:%M}", known.get(hour)) for hour in hours]
    measures = [each for each in MEASURES if counts_reads or each.field != "hit_rate"]
    return [_chart(measure, rows, ticks) for measure in measures] if known else []


def _chart(
    measure: Measure, hours: list[tuple[str, JobHour | None]], ticks: dict[int, str]
) -> dict[str, Any]:
    steps = [_step(measure, when, row) for when, row in hours]
    known = [(step, when) for step, (when, _) in zip(steps, hours, strict=True) if step.value is not None]
    last, summary, top = measure.unknown, "", measure.top or 1.0
    if known:
        low, low_at = min(known, key=lambda each: each[0].lowest)
        high, high_at = max(known, key=lambda each: each[0].value or 0.0)
        newest, at = known[-1]
        last, top = measure.text(newest.value or 0.0), measure.top or high.value or 1.0
        lowest, highest = (
            measure.text(each).replace(" ", "\N{NO-BREAK SPACE}") for each in (low.lowest, high.value or 0.0)
        )
        summary = f"at {at}"
        if len(known) > 1:
            summary += f"; lowest {lowest} at {low_at}, highest {highest} at {high_at}"
        elif low.lowest != high.value:
            summary += f"; lowest {lowest}"
    picture = chart(steps, top=top, ticks=ticks, label=f"{measure.name}: {last} {summary}")
    ends = {"top": measure.text(top), "bottom": measure.text(0.0)}
    return {"name": measure.name, "last": last, "summary": summary, "picture": picture} | ends


def _step(measure: Measure, when: str, row: JobHour | None) -> Step:
    if row is None:
        return Step(value=None, lowest=0.0, title=f"{when}: not observed", kind="gap")
    value = getattr(row, measure.field)
    text = measure.unknown if value is None else measure.text(value) + measure.details(row)
    if row.failed_runs:
        text += f"; {counted(row.failed_runs, 'run')} failed"
    return Step(
        value=value,
        lowest=getattr(row, measure.lowest) if measure.lowest else value or 0.0,
        title=f"{when}: {text}",
        kind="bad" if row.failed_runs else "" if row.observed else "gap",
    )
