"""The history of a job as charts in inline SVG, without scripts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from warmer.conf import conf
from warmer.humanize import counted, duration, local, percent
from warmer.models import JobHour, WarmingRun, start_of_hour

SPANS = {"day": 24, "week": 7 * 24}
"""The number of hours that the charts show."""
BARS = 20
BAR, GAP, HEIGHT = 4, 1, 22
# Closer to an end of the axis, a label would extend beyond it.
MARGIN_PERCENT = 5


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A quantity that is drawn over time."""

    name: str
    field: str  # of an hour
    text: Callable[[float], str]
    top: float | None = None  # the upper end of the scale; None: the highest value
    lowest: str = ""  # the field with the lowest value within the hour, where `field` is the mean
    details: Callable[[JobHour], str] = lambda hour: ""


MEASURES = (
    Measure(
        name="In the cache",
        field="coverage",
        text=percent,
        top=1.0,
        lowest="coverage_min",
        details=lambda hour: f", minimum {percent(hour.coverage_min)}",
    ),
    Measure(
        name="Hit rate",
        field="hit_rate",
        text=percent,
        top=1.0,
        details=lambda hour: f" of {counted(hour.hits + hour.misses, 'read')}",
    ),
    Measure(
        name="Duration",
        field="mean_seconds",
        text=lambda value: f"{value:.2f} s" if value < 60 else duration(value),
        details=lambda hour: f", {counted(hour.runs, 'run')}",
    ),
    Measure(name="Pending invalidations", field="pending_max", text="{:,.0f}".format),
)


def charts(job: str, span: str) -> list[dict[str, Any]]:
    """Return the charts of a job, with one query; none if there is no data for the period.

    Each has its `bars`, the `ticks` of the axis with the `labels` that fit below them, the `last` known
    value, and the ends of the scale. There is no chart of the hit rate where reads are not counted.
    """
    count = SPANS[span]
    first = start_of_hour(timezone.now()) - timedelta(hours=count - 1)
    known = {row.hour: row for row in JobHour.objects.filter(job=job, hour__gte=first)}
    if not known:
        return []
    hours = [first + timedelta(hours=number) for number in range(count)]
    every, form = (6, "%H:%M") if span == "day" else (24, "%a")
    ticks = {x: f"{hour:{form}}" for x, hour in enumerate(map(local, hours)) if hour.hour % every == 0}
    places = ((100 * x / count, text) for x, text in ticks.items())
    labels = [(f"{x:.1f}", text) for x, text in places if MARGIN_PERCENT <= x <= 100 - MARGIN_PERCENT]
    rows = [(f"{local(hour):%a %H:%M}", known.get(hour)) for hour in hours]
    return [
        _chart(measure, rows) | {"ticks": ticks, "labels": labels}
        for measure in MEASURES
        if conf.COUNT_READS or measure.field != "hit_rate"
    ]


def sparkline(runs: Sequence[WarmingRun]) -> SafeString:
    """Draw runs, newest first, as bars from right to left: the height is the duration, the class the state.

    Not by a template, because an overview has 1,000 bars.
    """
    drawn = [(run, run.took) for run in runs if run.took is not None][:BARS]
    if not drawn:
        return SafeString("")
    longest, bars = max(took for _, took in drawn), []
    for number, (run, took) in enumerate(reversed(drawn)):
        height = max(2.0, HEIGHT * took / longest) if longest else 2.0
        x, y = number * (BAR + GAP), HEIGHT - height
        title = f"run {run.pk}: {run.state}, {took:.2f} s"
        bars.append((run.state, x, f"{y:.1f}", BAR, f"{height:.1f}", title))
    rect = '<rect class="warmer-bar-{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
    label = f"The last {len(drawn)} runs took up to {longest:.2f} s"
    return format_html(
        '<svg class="warmer-spark" width="{}" height="{}" role="img" aria-label="{}">{}</svg>',
        *(len(drawn) * (BAR + GAP), HEIGHT, label, format_html_join("", rect, bars)),
    )


def _chart(measure: Measure, hours: Sequence[tuple[str, JobHour | None]]) -> dict[str, Any]:
    found = (getattr(row, measure.field) for _, row in hours if row is not None)
    values = [value for value in found if value is not None]
    top = measure.top or max(values, default=0.0) or 1.0
    bars = (bar for x, (hour, row) in enumerate(hours) for bar in _bars(measure, x, hour, row, top))
    rect = '<rect class="warmer-{}" x="{}" y="{}" width="1" height="{}">{}</rect>'
    return {
        "name": measure.name,
        "last": measure.text(values[-1]) if values else "no data",
        "top": measure.text(top),
        "bottom": measure.text(0.0),
        "count": len(hours),
        "bars": format_html_join("", rect, bars),  # a week has too many for a loop in a template
    }


def _bars(measure: Measure, x: int, hour: str, row: JobHour | None, top: float) -> Iterator[tuple[Any, ...]]:
    """Yield the bars of an hour: its mean, its lowest value, and over both the one with the tooltip."""
    kind, text = "gap", "not observed"
    if row is not None:
        value = getattr(row, measure.field)
        text = "no data"
        if value is not None:
            text = measure.text(value) + measure.details(row)
            for name, number in (("mean", value), ("lowest", getattr(row, measure.lowest or measure.field))):
                yield name, x, f"{100 - 100 * number / top:.1f}", f"{100 * number / top:.1f}", ""
        kind = "bad" if row.failed_runs else "hour" if row.observed else "gap"
        if row.failed_runs:
            text += f"; {counted(row.failed_runs, 'run')} failed"
    yield kind, x, "0", "100", format_html("<title>{}: {}</title>", hour, text)
