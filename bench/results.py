"""A benchmark's result: as JSON, as tables in Markdown, in the documentation, and as a chart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

import msgspec

from bench.measure import MeasuredRow, Table, Versus, compare


@dataclass(frozen=True, kw_only=True)
class Result:
    """One run of a benchmark; see `Benchmark` for what it has from there."""

    benchmark: str
    summary: str
    command: str
    measured: str
    where: str  # the machine and the versions that it ran on
    rows: int
    unit: str
    rounds: int
    shows: Literal["rate", "time"]
    tables: list[Table[MeasuredRow]]

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.benchmark}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Result:
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def shown(self, seconds: float) -> str:
        """Return the time of an operation as this benchmark shows it."""
        return f"{float(f'{1 / seconds:.3g}'):,.0f}/s" if self.shows == "rate" else _duration(seconds)

    def markdown(self) -> str:
        lines = []
        for table in self.tables:
            what = f"{table.operation}s a second" if self.shows == "rate" else f"time of a {table.operation}"
            counts = list(table.rows[0].counts)
            head = [table.title or table.operation, what, "slowest to fastest round", "processor time of one"]
            lines += _table([*head, *counts], map(self._figures, table.rows))
            ratios = [_comparison(table, row, versus) for row in table.rows for versus in row.versus]
            if ratios:
                lines += _table(
                    ["compared", "median", "with", "each round", "by processor time", "target"], ratios
                )
        return "\n".join(lines).strip()

    def _figures(self, row: MeasuredRow) -> list[str]:
        slowest, fastest = max(row.values()), min(row.values())
        return [
            row.title,
            self.shown(row.time),
            f"{self.shown(slowest)} to {self.shown(fastest)}",
            _duration(row.cpu_time),
            *(f"{count:,.4g}" for count in row.counts.values()),
        ]


def put_into(text: str, result: Result) -> str:
    """Return a page in Markdown with a result's tables put between its two marks."""
    begin, end = f"<!-- {result.benchmark}: begin -->", f"<!-- {result.benchmark}: end -->"
    where = (
        f"{result.rounds} rounds of {result.rows:,} {result.unit}, {result.measured[:10]}: {result.where}."
    )
    block = f"{begin}\n`{result.command}`\n\n{where}\n\n{result.markdown()}\n{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no {begin} ... {end}")
    return pattern.sub(lambda _: block, text)


def _comparison(table: Table[MeasuredRow], row: MeasuredRow, versus: Versus) -> list[str]:
    ratio = compare(table, row, versus)
    if versus.kind == "difference":
        number, of = "+.1f", f"in the {versus.of}" if versus.of else f"ms a {table.operation}"
        median = f"{ratio.value:+.1f} {of} to"
    else:
        number, of = ".2f", versus.of or ("speed" if versus.kind == "speed" else "time")
        median = f"{ratio.value:.2f} times the {of} of"
    each_round = f"{ratio.lowest:{number}} to {ratio.highest:{number}}"
    cpu = "" if ratio.cpu is None else f"{ratio.cpu:.2f}"
    target = ""
    if versus.target is not None:
        sign = "≥" if versus.kind == "speed" else "≤"
        target = f"{sign} {versus.target:g}: {'met' if ratio.met_target else '**missed**'}"
    return [row.title, median, versus.other, each_round, cpu, target]


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:], ""]


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds * 1e6:.{0 if seconds >= 1e-4 else 1}f} µs"


# -- the chart: SVG that is readable on light and dark ---------------------------------------------
WIDTH, MARGIN = 760, 24
LEFT = MARGIN + 278  # of the bars, which are to the right of their titles
LETTER = 7.4  # the widest letter of the value to the right of a bar
BAR, GAP, TABLE_HEAD = 20, 10, 34

STYLE = Path(__file__).with_name("chart.css").read_text().strip()


def draw(result: Result) -> str:
    """Return the chart: a bar for each row, ours in colour, with a line across the range of its rounds."""
    figure = "Operations a second: longer" if result.shows == "rate" else "Time of an operation: shorter"
    body = [
        _text(MARGIN, MARGIN + 14, result.summary.partition(":")[0], "title"),
        _text(MARGIN, MARGIN + 36, f"{figure} is better. The thin line is the range of the rounds.", "note"),
    ]
    values = [_value(result, row) for table in result.tables for row in table.rows]
    room = WIDTH - LEFT - MARGIN - 8 - LETTER * max(map(len, values))
    y = MARGIN + 44
    for table in result.tables:
        y += TABLE_HEAD
        body.append(_text(MARGIN, y - 12, table.title, "group"))
        longest = max(_length(result, seconds) for row in table.rows for seconds in row.values())
        for row in table.rows:
            body += _bar(result, row, y, room / longest)
            y += BAR + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + MARGIN}" '
        f'viewBox="0 0 {WIDTH} {y + MARGIN}" role="img" aria-label="{escape(result.summary)}">'
    )
    card = f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{y + MARGIN - 1}" rx="8"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", card, *body, "</svg>\n"])


def _bar(result: Result, row: MeasuredRow, y: int, scale: float) -> list[str]:
    ours = " ours" if row.title.startswith("warmer") else ""
    middle = y + BAR / 2
    length = scale * _length(result, row.time)
    ends = [LEFT + scale * _length(result, seconds) for seconds in row.values()]
    return [
        _text(MARGIN, middle + 4.5, row.title, f"label{ours}"),
        f'<rect class="bar{ours}" x="{LEFT}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" rx="2"/>',
        f'<path class="range" d="M{min(ends):.1f} {middle}H{max(ends):.1f}"/>',
        _text(max(*ends, LEFT + length) + 8, middle + 4.5, _value(result, row), f"value{ours}"),
    ]


def _value(result: Result, row: MeasuredRow) -> str:
    counted = [f", {name}: {count:,.4g}" for name, count in row.counts.items()]
    return "".join([result.shown(row.time), *counted[:1]])


def _length(result: Result, seconds: float) -> float:
    return 1 / seconds if result.shows == "rate" else seconds


def _text(x: float, y: float, text: str, css: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
