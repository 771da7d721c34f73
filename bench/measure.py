"""Measure contenders side by side: round by round, each once a round, compared by their medians.

A busy or throttled machine slows all contenders of a round alike, so ratios hold where figures do not.
The processor time of client and server together is measured too: it does not count the turns of other
processes, so on a busy machine its ratios are the ones to look at.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

# The first round fills caches of all kinds: connections, compiled queries, scripts on the server.
WARM_UPS = 1


def _nothing() -> None:
    """Do nothing."""


def _no_time() -> float:
    return 0.0


def _no_counts() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: what comparisons call it.
        title: what tables and charts call it.
        run: the work; it alone is timed.
        operations: how many operations `run` does.
        operation: one of them in words, where it is another than the benchmark's.
        group: contenders of a group do the same work.
        prepare: called before each `run`.
        verify: called after each `run`; raises when the work was not done.
        count: called after each `verify`; gives what else there is to show, by its name.
        other_cpu: gives the seconds of processor time that processes of its own have used.
    """

    name: str
    title: str
    run: Callable[[], None]
    operations: int
    operation: str = ""
    group: str = ""
    prepare: Callable[[], None] = _nothing
    verify: Callable[[], None] = _nothing
    count: Callable[[], Mapping[str, float]] = _no_counts
    other_cpu: Callable[[], float] = _no_time


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two contenders to compare: by how much the subject is faster, or what it costs more.

    Attributes:
        kind: "speed" is the other's time over the subject's (more is better); "cost" is the subject's
            time over the other's (less is better); "difference" is by how many milliseconds an operation of
            the subject takes longer, or by how much its count is more (less is better).
        target: what is aimed at; None: nothing.
        of: the count that is compared; None: the time.
    """

    subject: str
    against: str
    kind: Literal["speed", "cost", "difference"]
    target: float | None = None
    of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a benchmark's module gives.

    Attributes:
        operation: one operation in words, e.g. "profile".
        shows: whether a figure is operations a second or the time of one.
        close: called at the end.
    """

    operation: str
    shows: Literal["rate", "time"]
    contenders: Sequence[Contender]
    comparisons: Sequence[Comparison]
    close: Callable[[], None] = _nothing


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round of one contender took: by the clock, and of the processors; and what was counted."""

    seconds: float
    cpu_seconds: float
    counts: Mapping[str, float] = field(default_factory=dict)


Rounds = Mapping[str, Sequence[Round]]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A comparison with its result.

    Attributes:
        ratio: of the medians, by the clock, or their difference; the target is for this one.
        lowest, highest: of the pairs of each round.
        cpu_ratio: of the medians of the processor time; None where a count is compared.
        of: the count that is compared; None: the time.
    """

    subject: str
    against: str
    kind: str
    ratio: float
    lowest: float
    highest: float
    cpu_ratio: float | None
    target: float | None
    met: bool | None
    of: str | None = None


def measure(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    server_cpu: Callable[[], float],
    progress: Callable[[int], None],
) -> Rounds:
    """Return what each contender took, by name and round; the warm-up is not among them.

    Args:
        server_cpu: gives the seconds of processor time that the server has used.
        progress: called with the number of each round before it, 0 for the warm-up.
    """
    taken: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    for number in range(1 - WARM_UPS, rounds + 1):
        progress(number)
        for contender in contenders:
            contender.prepare()
            gc.collect()  # nobody pays for the garbage of another
            cpu_began = time.process_time() + server_cpu() + contender.other_cpu()
            began = time.perf_counter()
            contender.run()
            seconds = time.perf_counter() - began
            cpu_seconds = time.process_time() + server_cpu() + contender.other_cpu() - cpu_began
            contender.verify()
            counts = dict(contender.count())
            if number > 0:
                taken[contender.name].append(Round(seconds=seconds, cpu_seconds=cpu_seconds, counts=counts))
    return taken


def compare(comparison: Comparison, contenders: Sequence[Contender], taken: Rounds) -> Ratio:
    """Return what a comparison came to: times per operation, counts as they are."""
    operations = {contender.name: contender.operations for contender in contenders}
    if comparison.kind == "difference":
        return _difference(comparison, operations, taken)
    above, below = comparison.against, comparison.subject
    if comparison.kind == "cost":
        above, below = below, above
    scale = operations[below] / operations[above] if comparison.of is None else 1
    tops, bottoms = (_figures(taken[name], comparison.of) for name in (above, below))
    ratio = scale * median(tops) / median(bottoms)
    met = None
    if comparison.target is not None:
        met = ratio <= comparison.target if comparison.kind == "cost" else ratio >= comparison.target
    pairs = [scale * top / bottom for top, bottom in zip(tops, bottoms, strict=True)]
    cpu_ratio = None
    if comparison.of is None:
        cpu_ratio = scale * _median_cpu(taken[above]) / _median_cpu(taken[below])
    return _ratio(comparison, ratio, pairs, met=met, cpu_ratio=cpu_ratio)


def _difference(comparison: Comparison, operations: Mapping[str, int], taken: Rounds) -> Ratio:
    sides = []
    for name in (comparison.subject, comparison.against):
        scale = 1_000 / operations[name] if comparison.of is None else 1
        sides.append([scale * each for each in _figures(taken[name], comparison.of)])
    subject, against = sides
    difference = median(subject) - median(against)
    pairs = [one - other for one, other in zip(subject, against, strict=True)]
    met = None if comparison.target is None else difference <= comparison.target
    return _ratio(comparison, difference, pairs, met=met)


def _ratio(
    comparison: Comparison,
    ratio: float,
    pairs: Sequence[float],
    *,
    met: bool | None,
    cpu_ratio: float | None = None,
) -> Ratio:
    return Ratio(
        subject=comparison.subject,
        against=comparison.against,
        kind=comparison.kind,
        ratio=ratio,
        lowest=min(pairs),
        highest=max(pairs),
        cpu_ratio=cpu_ratio,
        target=comparison.target,
        met=met,
        of=comparison.of,
    )


def _figures(rounds: Sequence[Round], of: str | None) -> list[float]:
    return [each.seconds if of is None else each.counts[of] for each in rounds]


def _median_cpu(rounds: Sequence[Round]) -> float:
    return median(each.cpu_seconds for each in rounds)
