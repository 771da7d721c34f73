"""Families of metrics, as plain data: what is measured, not yet for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from warmer.declarations.spec import JobSpec
from warmer.monitoring.metrics.snapshot import Snapshot
from warmer.monitoring.observation import Observation


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One value of a family.

    Attributes:
        labels: the values of the family's labels.
        value: the value; of a summary the sum.
        count: of a summary, of how many.
    """

    labels: tuple[str, ...]
    value: float
    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Family:
    """A metric with all its values.

    Attributes:
        name: without the `_total` of a counter.
        help: what it says, in a sentence.
        labels: the names of its labels.
    """

    kind: Literal["counter", "gauge", "summary"]
    name: str
    help: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]


Values = Iterable[tuple[tuple[str, ...], float]]


def counter(name: str, help: str, labels: Sequence[str], values: Values) -> Family:
    """Return a counter."""
    return Family(kind="counter", name=name, help=help, labels=tuple(labels), samples=_samples(values))


def gauge(name: str, help: str, labels: Sequence[str], values: Values) -> Family:
    """Return a gauge."""
    return Family(kind="gauge", name=name, help=help, labels=tuple(labels), samples=_samples(values))


def summary(name: str, help: str, values: Iterable[tuple[str, float, float]]) -> Family:
    """Return a summary by job: of each, how many and their sum."""
    samples = tuple(Sample(labels=(job,), count=int(count), value=total) for job, count, total in values)
    return Family(kind="summary", name=name, help=help, labels=("job",), samples=samples)


def of_jobs(seen: Snapshot, name: str, help: str, value: Callable[[JobSpec], float]) -> Family:
    """Return a gauge of every declared job."""
    return gauge(name, help, ["job"], (((spec.name,), value(spec)) for spec in seen.specs))


def observed(seen: Snapshot, name: str, help: str, value: Callable[[Observation], float | None]) -> Family:
    """Return a gauge of what was observed; a job of which it is not known has none."""
    values = {job: value(found) for job, found in seen.observations.items()}
    known = (((job,), each) for job, each in values.items() if each is not None)
    return gauge(name, help, ["job"], known)


def timestamp(moment: datetime | None) -> float:
    """Return the seconds of the epoch; 0 of no moment."""
    return moment.timestamp() if moment else 0.0


def _samples(values: Values) -> tuple[Sample, ...]:
    return tuple(Sample(labels=labels, value=value) for labels, value in values)
