"""The history of a job: what each hour of a day or a week came to, as charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.safestring import SafeString

from warmer import humanize
from warmer.admin.charts import Step, chart
from warmer.models import JobHour, start_of_hour


@dataclass(frozen=True, kw_only=True)
class Span:
    """What a chart shows: the last hours, with a text on its axis every few hours of the day."""

    hours: int
    every: int
    tick: str


SPANS = {"day": Span(hours=24, every=6, tick="%H:%M"), "week": Span(hours=7 * 24, every=24, tick="%a")}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Something that is drawn over time.

    Attributes:
        unknown: what an hour without a value is called.
        top: the upper end of the scale; None: the highest value.
        lowest: the lowest value within the hour, where `value` is the mean.
    """

    name: str
    value: Callable[[JobHour], float | None]
    text: Callable[[float], str]
    unknown: str
    details: Callable[[JobHour], str] = lambda hour: ""
    top: float | None = None
    lowest: Callable[[JobHour], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A measure of a job over a span.

    Attributes:
        last: the newest known value.
        summary: when that was, and the extremes.
        top, bottom: the ends of the scale.
    """

    name: str
    last: str
    summary: str
    top: str
    bottom: str
    picture: SafeString


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 60 else humanize.duration(value)


MEASURES = (
    Measure(
        name="In the cache",
        value=lambda hour: hour.coverage,
        text=humanize.percent,
        unknown="not observed",
        details=lambda hour: f", at lowest {humanize.percent(hour.coverage_min)}",
        top=1.0,
        lowest=lambda hour: hour.coverage_min,
    ),
    Measure(
        name="Hit rate",
        value=lambda hour: hour.hit_rate,
        text=humanize.percent,
        unknown="no reads counted",
        details=lambda hour: f" of {humanize.counted(hour.hits + hour.misses, 'read')}",
        top=1.0,
    ),
    Measure(
        name="Duration",
        value=lambda hour: hour.mean_seconds,
        text=_seconds,
        unknown="no runs",
        details=lambda hour: f", {humanize.counted(hour.runs, 'run')}",
    ),
    Measure(
        name="Pending invalidations",
        value=lambda hour: hour.pending_max,
        text=lambda value: f"{value:,.0f}",
        unknown="not observed",
    ),
)


def charts(job: str, span: Span) -> list[Chart]:
    """Return the charts of a job, from one query; none if nothing is known of that span."""
    first = start_of_hour(timezone.now()) - timedelta(hours=span.hours - 1)
    known = {row.hour: row for row in JobHour.objects.filter(job=job, hour__gte=first)}
    hours = {hour: known.get(hour) for hour in (first + timedelta(hours=n) for n in range(span.hours))}
    return [_chart(measure, hours, span) for measure in MEASURES] if any(hours.values()) else []


def _chart(measure: Measure, hours: Mapping[datetime, JobHour | None], span: Span) -> Chart:
    steps = [_step(measure, hour, row) for hour, row in hours.items()]
    known = [
        (step.lowest, step.value, _when(hour))
        for step, hour in zip(steps, hours, strict=True)
        if step.value is not None
    ]
    last, summary, top = measure.unknown, "", measure.top or 1.0
    if known:
        low, _, low_at = min(known)
        _, high, high_at = max(known, key=lambda each: each[1])
        _, value, at = known[-1]
        last, top = measure.text(value), measure.top or high or 1.0
        lowest, highest = (measure.text(each).replace(" ", "\N{NO-BREAK SPACE}") for each in (low, high))
        summary = f"at {at}; lowest {lowest} at {low_at}, highest {highest} at {high_at}"
    local = [humanize.local(hour) for hour in hours]
    return Chart(
        name=measure.name,
        last=last,
        summary=summary,
        top=measure.text(top),
        bottom=measure.text(0.0),
        picture=chart(
            steps,
            top=top,
            ticks={x: f"{hour:{span.tick}}" for x, hour in enumerate(local) if hour.hour % span.every == 0},
            label=f"{measure.name}: {last} {summary}",
        ),
    )


def _step(measure: Measure, hour: datetime, row: JobHour | None) -> Step:
    if row is None:
        return Step(value=None, lowest=0.0, title=f"{_when(hour)}: not observed", kind="gap")
    value = measure.value(row)
    text = measure.unknown if value is None else measure.text(value) + measure.details(row)
    if row.failed_runs:
        text += f"; {humanize.counted(row.failed_runs, 'run')} failed"
    return Step(
        value=value,
        lowest=measure.lowest(row) if measure.lowest else value or 0.0,
        title=f"{_when(hour)}: {text}",
        kind="bad" if row.failed_runs else "" if row.observed else "gap",
    )


def _when(hour: datetime) -> str:
    return f"{humanize.local(hour):%a %H:%M}"
