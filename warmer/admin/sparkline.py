"""A small drawing of how long a job's last runs took."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from warmer.models import WarmingRun

BARS = 20
BAR, GAP, HEIGHT = 4, 1, 22
WIDTH = BARS * (BAR + GAP) - GAP


def sparkline(runs: Sequence[WarmingRun]) -> SafeString:
    """Draw runs as bars, the newest at the right; the height is the time, the class the state.

    Args:
        runs: newest first.
    """
    drawn = [run for run in runs if run.took is not None][:BARS]
    if not drawn:
        return SafeString("")
    longest = max(run.took or 0.0 for run in drawn) or 1.0
    bars = format_html_join(
        "",
        '<rect class="warmer-bar-{}" x="{}" y="{}" width="{}" height="{}">'
        "<title>run {}: {}, {} s</title></rect>",
        (_bar(number, run, longest) for number, run in enumerate(drawn)),
    )
    return format_html(
        '<svg class="warmer-spark" viewBox="0 0 {} {}" width="{}" height="{}" role="img" '
        'aria-label="{}">{}</svg>',
        WIDTH,
        HEIGHT,
        WIDTH,
        HEIGHT,
        f"The last {len(drawn)} runs took up to {longest:.2f} s",
        bars,
    )


def _bar(number: int, run: WarmingRun, longest: float) -> tuple[str, int, str, int, str, int, str, str]:
    took = run.took or 0.0
    height = max(2.0, HEIGHT * took / longest)
    x = WIDTH - BAR - number * (BAR + GAP)
    return run.state, x, f"{HEIGHT - height:.1f}", BAR, f"{height:.1f}", run.pk, run.state, f"{took:.2f}"
