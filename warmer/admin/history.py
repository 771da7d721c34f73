"""The history of a job as charts in inline SVG, without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
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


@dataclass(frozen=True, kw_only=True)
class Step:
    """A measure in an hour.

    Attributes:
        is_known: whether the line is drawn, or has a gap.
        value: the height of the line.
        lowest: the lower end of the shaded area below the line.
        text: the tooltip, after the hour.
        kind: "gap", "bad" or empty: the style of the background.
    """

    hour: str
    is_known: bool = False
    value: float = 0.0
    lowest: float = 0.0
    text: str = "not observed"
    kind: str = "gap"


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


def charts(job: str, span: str) -> list[dict[str, Any]]:
    """Return the charts of a job, with one query; none if there is no data for the period.

    Each has its `steps`, the paths of the `line` and the `area` below it, the `ticks` of the axis with the
    `labels` that fit below them, the `last` known value, the extremes as `summary`, and the ends of the
    scale. There is no chart of the hit rate where reads are not counted.
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
        _chart(measure, [_step(measure, hour, row) for hour, row in rows])
        | {"ticks": ticks, "labels": labels}
        for measure in MEASURES
        if conf.COUNT_READS or measure.field != "hit_rate"
    ]


def sparkline(runs: Sequence[WarmingRun]) -> SafeString:
    """Draw runs as bars, the newest on the right: the height is the duration, the class the state.

    Not by a template, because an overview has 1,000 bars.

    Args:
        runs: newest first.
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


def _step(measure: Measure, hour: str, row: JobHour | None) -> Step:
    if row is None:
        return Step(hour=hour)
    value = getattr(row, measure.field)
    text = measure.unknown if value is None else measure.text(value) + measure.details(row)
    if row.failed_runs:
        text += f"; {counted(row.failed_runs, 'run')} failed"
    return Step(
        hour=hour,
        is_known=value is not None,
        value=value or 0.0,
        lowest=getattr(row, measure.lowest or measure.field) or 0.0,
        text=text,
        kind="bad" if row.failed_runs else "" if row.observed else "gap",
    )


def _chart(measure: Measure, steps: Sequence[Step]) -> dict[str, Any]:
    known = [step for step in steps if step.is_known]
    last, summary, top = measure.unknown, "", measure.top or 1.0
    if known:
        low, high = min(known, key=attrgetter("lowest")), max(known, key=attrgetter("value"))
        last, top = measure.text(known[-1].value), measure.top or high.value or 1.0
        lowest, highest = (
            measure.text(value).replace(" ", "\N{NO-BREAK SPACE}") for value in (low.lowest, high.value)
        )
        summary = f"at {known[-1].hour}"
        if len(known) > 1:
            summary += f"; lowest {lowest} at {low.hour}, highest {highest} at {high.hour}"
        elif low.lowest != high.value:
            summary += f"; lowest {lowest}"
    line, area = "", ""
    for is_known, group in groupby(enumerate(steps), key=lambda each: each[1].is_known):
        if is_known:
            (start, first), *_ = points = list(group)
            line += f"M{start} {_y(first.value, top)}" + _path((x, _y(step.value, top)) for x, step in points)
            area += f"M{start} 100" + _path((x, _y(step.lowest, top)) for x, step in points) + "V100Z"
    rect = '<rect class="warmer-step {}" x="{}" width="1" height="100"><title>{}: {}</title></rect>'
    rects = ((step.kind and f"warmer-{step.kind}", x, step.hour, step.text) for x, step in enumerate(steps))
    return {
        "name": measure.name,
        "last": last,
        "summary": summary,
        "top": measure.text(top),
        "bottom": measure.text(0.0),
        "count": len(steps),
        "line": line,
        "area": area,
        "steps": format_html_join("", rect, rects),  # a week has 168, too many for a loop in a template
    }


def _y(value: float, top: float) -> str:
    return f"{100 - 100 * value / top:.1f}"


def _path(points: Iterable[tuple[int, str]]) -> str:
    """Return the path of steps that begin at some points, each one wide."""
    return "".join(f"V{y}H{x + 1}" for x, y in points)
