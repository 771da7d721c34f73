"""Measure rows side by side: round by round, each row once per round, compared by their medians.

A busy or throttled machine slows all rows of a round alike, so ratios hold where absolute figures do not. The
processor time of client, server and helper processes is measured too. It excludes other processes, so on a
busy machine its ratios are more reliable.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Generic, Literal, NamedTuple, TypeVar


@dataclass(frozen=True, kw_only=True)
class Versus:
    """A comparison of a row with another row of its table, given by its title.

    "speed" is how many times as fast it is (more is better), "cost" how many times the other's time or count
    it takes, and "difference" how many milliseconds, or how much of the count, in addition (less is better).
    """

    other: str
    kind: Literal["speed", "cost", "difference"]
    target: float | None = None
    of: str = ""  # the count to compare, by its name; else the time


speed = partial(Versus, kind="speed")
cost = partial(Versus, kind="cost")
difference = partial(Versus, kind="difference")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to do the work of a table: `run` is timed, and does so many operations.

    `verify` gets what `run` returned, raises if the work was not done, and may return counts by name.
    """

    title: str
    run: Callable[[], Any]
    operations: int
    prepare: Callable[[], object] = int
    verify: Callable[[Any], Mapping[str, float] | None] = lambda _: None
    cpu: Callable[[], float] = float  # seconds that other processes used for this row so far
    versus: Sequence[Versus] = ()


@dataclass(frozen=True, kw_only=True)
class Round:
    """The wall time, processor time and counts of one operation of a row in one round."""

    seconds: float
    cpu_seconds: float
    counts: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class MeasuredRow:
    """The measurements of a row in each round."""

    title: str
    rounds: list[Round]
    versus: list[Versus]

    def values(self, of: str = "") -> list[float]:
        """Return the seconds of an operation in each round, or a count."""
        return [each.counts[of] if of else each.seconds for each in self.rounds]

    @property
    def time(self) -> float:
        """The median time of an operation in seconds."""
        return median(self.values())

    @property
    def cpu_time(self) -> float:
        """The median processor time of an operation in seconds."""
        return median(each.cpu_seconds for each in self.rounds)

    @property
    def counts(self) -> dict[str, float]:
        """The median of each count."""
        return {name: median(self.values(name)) for name in self.rounds[0].counts}


AnyRow = TypeVar("AnyRow")


@dataclass(frozen=True, kw_only=True)
class Table(Generic[AnyRow]):
    title: str = ""
    operation: str  # one of them, e.g. "profile"
    rows: Sequence[AnyRow]


class Ratio(NamedTuple):
    """The result of a comparison, by the medians, in each round, and by processor time (not for counts)."""

    value: float
    lowest: float
    highest: float
    cpu: float | None
    met_target: bool | None


def compare(table: Table[MeasuredRow], row: MeasuredRow, versus: Versus) -> Ratio:
    other = next(each for each in table.rows if each.title == versus.other)
    relate: Callable[[float, float], float] = {
        "speed": lambda mine, theirs: theirs / mine,
        "cost": lambda mine, theirs: mine / theirs,
        "difference": lambda mine, theirs: (mine - theirs) * (1 if versus.of else 1_000),
    }[versus.kind]
    mine, theirs = row.values(versus.of), other.values(versus.of)
    value = relate(median(mine), median(theirs))
    pairs = list(map(relate, mine, theirs))
    met = None
    if versus.target is not None:
        met = value >= versus.target if versus.kind == "speed" else value <= versus.target
    is_of_time = versus.kind != "difference" and not versus.of
    cpu = relate(row.cpu_time, other.cpu_time) if is_of_time else None
    return Ratio(value=value, lowest=min(pairs), highest=max(pairs), cpu=cpu, met_target=met)


def measure(
    tables: Sequence[Table[Row]], *, rounds: int, server_cpu: Callable[[], float], warm_up: bool = True
) -> list[Table[MeasuredRow]]:
    """Run every row once per round, in turns, after a round that is not measured; return the measurements."""
    measured = []
    for table in tables:
        empty = [MeasuredRow(title=row.title, versus=list(row.versus), rounds=[]) for row in table.rows]
        measured.append(Table(title=table.title, operation=table.operation, rows=empty))
    for number in range(0 if warm_up else 1, rounds + 1):
        print(f"round {number}" if number else "warm-up", end=" ", flush=True)
        for table, found in zip(tables, measured, strict=True):
            for row, measured_row in zip(table.rows, found.rows, strict=True):
                once = _measure_once(row, server_cpu)
                if number:
                    measured_row.rounds.append(once)
    return measured


def _measure_once(row: Row, server_cpu: Callable[[], float]) -> Round:
    row.prepare()
    gc.collect()  # so that no row pays for another's garbage
    cpu_began = time.process_time() + server_cpu() + row.cpu()
    began = time.perf_counter()
    returned = row.run()
    seconds = (time.perf_counter() - began) / row.operations
    cpu_seconds = (time.process_time() + server_cpu() + row.cpu() - cpu_began) / row.operations
    return Round(seconds=seconds, cpu_seconds=cpu_seconds, counts=dict(row.verify(returned) or {}))
