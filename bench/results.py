"""A benchmark's result: as JSON, as a table in Markdown, and in the documentation."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.measure import Ratio, Round


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one contender took in each round."""

    name: str
    title: str
    group: str
    operations: int
    rounds: list[Round]
    operation: str = ""

    def times(self) -> list[float]:
        """Return the seconds of one operation, of each round."""
        return [each.seconds / self.operations for each in self.rounds]

    @property
    def time(self) -> float:
        """The median of them."""
        return median(self.times())

    @property
    def cpu_time(self) -> float:
        """The median of the processor time of one operation."""
        return median(each.cpu_seconds / self.operations for each in self.rounds)

    @property
    def counts(self) -> dict[str, float]:
        """The medians of what was counted."""
        return {name: median(each.counts[name] for each in self.rounds) for name in self.rounds[0].counts}


@dataclass(frozen=True, kw_only=True)
class Result:
    """All that is known of one run of a benchmark."""

    benchmark: str
    summary: str
    command: str
    measured: str
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    rows: int
    rounds: int
    operation: str
    shows: str
    figures: list[Figure]
    ratios: list[Ratio]
    unit: str = "rows"

    def write(self, folder: Path) -> Path:
        """Write `<name>.json`; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.benchmark}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read what `write` wrote."""
        data = json.loads(path.read_text())
        figures = [
            Figure(**figure | {"rounds": [Round(**each) for each in figure["rounds"]]})
            for figure in data.pop("figures")
        ]
        ratios = [Ratio(**ratio) for ratio in data.pop("ratios")]
        return cls(**data, figures=figures, ratios=ratios)

    @property
    def title(self) -> str:
        """The first words of the summary."""
        return self.summary.partition(":")[0]

    def operation_of(self, figure: Figure) -> str:
        """Return what a figure is the time of."""
        return figure.operation or self.operation

    def groups(self) -> dict[str, list[Figure]]:
        """Return the figures of each group, in order."""
        groups: dict[str, list[Figure]] = {}
        for figure in self.figures:
            groups.setdefault(figure.group, []).append(figure)
        return groups

    def shown(self, seconds: float) -> str:
        """Return the time of an operation as this benchmark shows it."""
        if self.shows == "rate":
            return f"{_rounded(1 / seconds):,.0f}/s"
        return _duration(seconds)

    def where(self) -> str:
        """Return what it was measured on, in a line."""
        software = ", ".join(f"{name} {value}" for name, value in self.versions.items() if name != "server")
        return (
            f"{self.machine['cpu']}, {self.machine['cores']} cores, load {self.machine['load']}; "
            f"{self.versions['server']}, {software}"
        )

    def tables(self) -> str:
        """Return figures and ratios in Markdown."""
        lines = []
        for group, figures in self.groups().items():
            operation = self.operation_of(figures[0])
            title = f"{operation}s a second" if self.shows == "rate" else f"time of a {operation}"
            counted = list(figures[0].counts)
            columns = [title, "slowest to fastest round", "processor time of one", *counted]
            lines += [
                f"| {group or operation} | {' | '.join(columns)} |",
                "|---" * (1 + len(columns)) + "|",
            ]
            for figure in figures:
                slowest, fastest = (self.shown(each(figure.times())) for each in (max, min))
                lines.append(
                    f"| {figure.title} | {self.shown(figure.time)} | {slowest} to {fastest} "
                    f"| {_duration(figure.cpu_time)} |"
                    + "".join(f" {figure.counts[name]:,.4g} |" for name in counted)
                )
            lines.append("")
            names = {figure.name for figure in figures}
            ratios = [ratio for ratio in self.ratios if ratio.subject in names]
            if ratios:
                lines += [
                    "| compared | median | with | each round | by processor time | target |",
                    "|---|---|---|---|---|---|",
                ]
                lines += [self._row(ratio) for ratio in ratios]
                lines.append("")
        return "\n".join(lines).strip()

    def _row(self, ratio: Ratio) -> str:
        titles = {figure.name: figure.title for figure in self.figures}
        if ratio.kind == "difference":
            return self._difference_row(ratio, titles)
        what = f"the {ratio.of}" if ratio.of else ("the speed" if ratio.kind == "speed" else "the time")
        cpu = "" if ratio.cpu_ratio is None else f"{ratio.cpu_ratio:.2f}"
        target = ""
        if ratio.target is not None:
            sign = "≥" if ratio.kind == "speed" else "≤"
            target = f"{sign} {ratio.target:g}: {'met' if ratio.met else '**missed**'}"
        return (
            f"| {titles[ratio.subject]} | {ratio.ratio:.2f} times {what} of | {titles[ratio.against]} "
            f"| {ratio.lowest:.2f} to {ratio.highest:.2f} | {cpu} | {target} |"
        )

    def _difference_row(self, ratio: Ratio, titles: dict[str, str]) -> str:
        unit = f"in the {ratio.of}" if ratio.of else f"ms a {self.operation}"
        target = ""
        if ratio.target is not None:
            target = f"≤ {ratio.target:g}: {'met' if ratio.met else '**missed**'}"
        return (
            f"| {titles[ratio.subject]} | {ratio.ratio:+.1f} {unit} to | {titles[ratio.against]} "
            f"| {ratio.lowest:+.1f} to {ratio.highest:+.1f} |  | {target} |"
        )


def put_into(text: str, result: Result) -> str:
    """Return a page in Markdown with a result's tables between its two marks.

    Raises:
        ValueError: the page has no marks for them.
    """
    begin, end = f"<!-- {result.benchmark}: begin -->", f"<!-- {result.benchmark}: end -->"
    where = (
        f"{result.rounds} rounds of {result.rows:,} {result.unit}, {result.measured[:10]}: {result.where()}."
    )
    block = f"{begin}\n`{result.command}`\n\n{where}\n\n{result.tables()}\n{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no {begin} ... {end}")
    return pattern.sub(lambda _: block, text)


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds * 1e6:.{0 if seconds >= 1e-4 else 1}f} µs"


def _rounded(number: float) -> float:
    """Return a number with three digits that mean something."""
    return float(f"{number:.3g}")
