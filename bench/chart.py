"""A bar chart of a result as SVG: readable on light and dark, with no library."""

from __future__ import annotations

from html import escape

from bench.results import Figure, Result

WIDTH = 760
MARGIN = 24
LABELS = 278
# At most so wide is a letter of what stands beside a bar: the value, and the first thing that was counted.
LETTER = 7.4
BAR, GAP = 20, 10
GROUP_HEAD = 34
LEFT = MARGIN + LABELS
ROOM = WIDTH - LEFT - MARGIN

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.card { fill: #ffffff; stroke: #d0d7de }
.title { font-size: 16px; font-weight: 600 }
.note, .group { fill: #57606a }
.note { font-size: 11.5px }
.group { font-size: 12px; font-weight: 600 }
.ours { font-weight: 600 }
.value { font-variant-numeric: tabular-nums }
.bar { fill: #afb8c1 }
.bar.ours { fill: #0969da }
.range { stroke: #24292f; stroke-opacity: 0.55; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .card { fill: #0d1117; stroke: #30363d }
  .note, .group { fill: #9198a1 }
  .bar { fill: #484f58 }
  .bar.ours { fill: #4493f8 }
  .range { stroke: #e6edf3 }
}
""".strip()


def draw(result: Result) -> str:
    """Return the chart: a bar a contender, ours in colour, with a line from its worst to its best round."""
    body: list[str] = []
    y = MARGIN + 14
    body.append(_text(MARGIN, y, result.title, "title"))
    y += 22
    body.append(_text(MARGIN, y, _note(result), "note"))
    y += 8
    for group, figures in result.groups().items():
        y += GROUP_HEAD
        body.append(_text(MARGIN, y - 12, group, "group"))
        longest = max(_length(result, seconds) for figure in figures for seconds in figure.times())
        room = ROOM - 8 - LETTER * max(len(_value(result, figure)) for figure in figures)
        for figure in figures:
            body += _bar(result, figure, y, room / longest)
            y += BAR + GAP
    y += 20
    for line in _wrapped(result.where(), 112):
        body.append(_text(MARGIN, y, line, "note"))
        y += 16
    height = y + 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(result.summary)}">'
    )
    card = f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", card, *body, "</svg>\n"])


def _bar(result: Result, figure: Figure, y: float, scale: float) -> list[str]:
    ours = " ours" if figure.title.startswith("warmer") else ""
    middle = y + BAR / 2
    length = scale * _length(result, figure.time)
    ends = sorted(scale * _length(result, seconds) for seconds in figure.times())
    shortest, longest = LEFT + ends[0], LEFT + ends[-1]
    return [
        _text(MARGIN, middle + 4.5, figure.title, f"label{ours}"),
        f'<rect class="bar{ours}" x="{LEFT}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" rx="2"/>',
        f'<path class="range" d="M{shortest:.1f} {middle}H{longest:.1f}"/>',
        _text(max(LEFT + length, longest) + 8, middle + 4.5, _value(result, figure), f"value{ours}"),
    ]


def _value(result: Result, figure: Figure) -> str:
    counted = [f", {name}: {count:,.4g}" for name, count in figure.counts.items()]
    return "".join([result.shown(figure.time), *counted[:1]])


def _length(result: Result, seconds: float) -> float:
    return 1 / seconds if result.shows == "rate" else seconds


def _note(result: Result) -> str:
    operations = list(dict.fromkeys(map(result.operation_of, result.figures)))
    *others, last = operations
    operation = f"{', '.join(others)} or {last}" if others else last
    what = (
        f"{operation.capitalize()}s a second: longer is better."
        if result.shows == "rate"
        else f"Time of a {operation}: shorter is better."
    )
    return (
        f"{what} Median of {result.rounds} rounds of {result.rows:,} {result.unit}; "
        "the thin line is the range of the rounds."
    )


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
