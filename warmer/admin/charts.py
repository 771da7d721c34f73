"""Charts as inline SVG, without scripts: the durations of runs as bars, and values over time as steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from warmer.models import WarmingRun

BARS = 20
BAR, GAP, HEIGHT = 4, 1, 22
# Closer to an end of the axis, a label would extend beyond it.
MARGIN_PERCENT = 5


@dataclass(frozen=True, kw_only=True)
class Step:
    """A value for a period of time.

    Attributes:
        value: the height of the line; None: unknown, which leaves a gap.
        lowest: the lower end of the shaded area below the line.
        title: the tooltip.
        kind: "gap", "bad" or empty: the style of the background.
    """

    value: float | None
    lowest: float
    title: str
    kind: str


def chart(steps: Sequence[Step], *, top: float, ticks: Mapping[int, str], label: str) -> SafeString:
    """Draw values as steps of equal width, with a time axis below, as wide as the page allows.

    Args:
        top: the value at the upper edge; the lower edge is 0.
        ticks: the number of a step -> the text on the axis where it begins.
        label: a description for screen readers.
    """
    count = len(steps)
    line, area = "", ""
    for is_known, group in groupby(enumerate(steps), key=lambda each: each[1].value is not None):
        if is_known:
            (start, first), *_ = known = list(group)
            line += f"M{start} {_y(first.value, top)}" + _path((x, _y(step.value, top)) for x, step in known)
            area += f"M{start} 100" + _path((x, _y(step.lowest, top)) for x, step in known) + "V100Z"
    plot = format_html(
        '<svg viewBox="0 0 {} 100" preserveAspectRatio="none" width="100%" height="80">'
        '{}<path class="warmer-area" d="{}"/><path class="warmer-line" d="{}"/>{}</svg>',
        count,
        format_html_join("", '<path class="warmer-tick" d="M{} 0V100"/>', ((x,) for x in ticks)),
        area,
        line,
        format_html_join(
            "",
            '<rect class="warmer-step {}" x="{}" width="1" height="100"><title>{}</title></rect>',
            ((step.kind and f"warmer-{step.kind}", x, step.title) for x, step in enumerate(steps)),
        ),
    )
    places = ((100 * x / count, text) for x, text in ticks.items())
    texts = format_html_join(
        "",
        '<text x="{}%" y="96" text-anchor="middle">{}</text>',
        ((f"{x:.1f}", text) for x, text in places if MARGIN_PERCENT <= x <= 100 - MARGIN_PERCENT),
    )
    return _svg("warmer-plot", label, plot + texts, width="100%", height=100)


def sparkline(runs: Sequence[WarmingRun]) -> SafeString:
    """Draw runs as bars, the newest on the right: the height is the duration, the class the state.

    Args:
        runs: newest first.
    """
    drawn = [(run, run.took) for run in runs if run.took is not None][:BARS]
    if not drawn:
        return SafeString("")
    longest = max(took for _, took in drawn)
    bars = []
    for number, (run, took) in enumerate(reversed(drawn)):
        height = max(2.0, HEIGHT * took / longest) if longest else 2.0
        x, y = number * (BAR + GAP), HEIGHT - height
        title = f"run {run.pk}: {run.state}, {took:.2f} s"
        bars.append((run.state, x, f"{y:.1f}", BAR, f"{height:.1f}", title))
    rect = '<rect class="warmer-bar-{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
    label = f"The last {len(drawn)} runs took up to {longest:.2f} s"
    return _svg(
        "warmer-spark", label, format_html_join("", rect, bars), width=len(drawn) * (BAR + GAP), height=HEIGHT
    )


def _svg(kind: str, label: str, content: SafeString, *, width: int | str, height: int) -> SafeString:
    return format_html(
        '<svg class="{}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>',
        *(kind, width, height, label, content),
    )


def _y(value: float | None, top: float) -> str:
    return f"{100 - 100 * (value or 0.0) / top:.1f}"


def _path(points: Iterable[tuple[int, str]]) -> str:
    """Return the path of steps that begin at some points, each one wide."""
    return "".join(f"V{y}H{x + 1}" for x, y in points)
