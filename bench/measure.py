"""Measure contenders side by side: round by round, each once a round, compared by their medians.

A busy or throttled machine slows all contenders of a round alike, so ratios hold where figures do not.
The processor time of client and server together is measured too: it does not count the turns of other
processes, so on a busy machine its ratios are the ones to look at.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

# The first round fills caches of all kinds: connections, compiled queries, scripts on the server.
WARM_UPS = 1


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: what comparisons call it.
        title: what tables and charts call it.
        run: the work; it alone is timed.
        operations: how many operations `run` does.
        group: contenders of a group do the same work.
        prepare: called before each `run`.
        verify: called after each `run`; raises when the work was not done.
    """

    name: str
    title: str
    run: Callable[[], None]
    operations: int
    group: str = ""
    prepare: Callable[[], None] = _nothing
    verify: Callable[[], None] = _nothing


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two contenders to compare: by how much the subject is faster, or what it costs more.

    Attributes:
        kind: "speed" is the other's time over the subject's (more is better); "cost" is the subject's
            time over the other's (less is better).
        target: what is aimed at; None: nothing.
    """

    subject: str
    against: str
    kind: Literal["speed", "cost"]
    target: float | None = None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a benchmark's module gives.

    Attributes:
        operation: one operation in words, e.g. "profile".
        shows: whether a figure is operations a second or the time of one.
    """

    operation: str
    shows: Literal["rate", "time"]
    contenders: Sequence[Contender]
    comparisons: Sequence[Comparison]


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round of one contender took: by the clock, and of the processors."""

    seconds: float
    cpu_seconds: float


Rounds = Mapping[str, Sequence[Round]]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A comparison with its result.

    Attributes:
        ratio: of the medians, by the clock; the target is for this one.
        lowest, highest: of the pairs of each round.
        cpu_ratio: of the medians of the processor time.
    """

    subject: str
    against: str
    kind: str
    ratio: float
    lowest: float
    highest: float
    cpu_ratio: float
    target: float | None
    met: bool | None


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
            cpu_began = time.process_time() + server_cpu()
            began = time.perf_counter()
            contender.run()
            seconds = time.perf_counter() - began
            cpu_seconds = time.process_time() + server_cpu() - cpu_began
            contender.verify()
            if number > 0:
                taken[contender.name].append(Round(seconds=seconds, cpu_seconds=cpu_seconds))
    return taken


def compare(comparison: Comparison, contenders: Sequence[Contender], taken: Rounds) -> Ratio:
    """Return what a comparison came to, per operation."""
    operations = {contender.name: contender.operations for contender in contenders}
    above, below = comparison.against, comparison.subject
    if comparison.kind == "cost":
        above, below = below, above
    scale = operations[below] / operations[above]
    pairs = [
        scale * one.seconds / other.seconds for one, other in zip(taken[above], taken[below], strict=True)
    ]
    ratio = scale * _median(taken[above], "seconds") / _median(taken[below], "seconds")
    met = None
    if comparison.target is not None:
        met = ratio <= comparison.target if comparison.kind == "cost" else ratio >= comparison.target
    return Ratio(
        subject=comparison.subject,
        against=comparison.against,
        kind=comparison.kind,
        ratio=ratio,
        lowest=min(pairs),
        highest=max(pairs),
        cpu_ratio=scale * _median(taken[above], "cpu_seconds") / _median(taken[below], "cpu_seconds"),
        target=comparison.target,
        met=met,
    )


def _median(rounds: Sequence[Round], what: str) -> float:
    return median(getattr(each, what) for each in rounds)
