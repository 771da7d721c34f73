"""Jobs that change faster than they can be loaded: their readers load for themselves, and do not wait.

A reader waits for two loads that changes overtake. Then it marks the job as hot for its process, until a load
is stored; at the latest when nothing was overtaken for `WARMER_READ_WAIT`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from time import monotonic

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.report import Outcome
from warmer.stores import Record, Token

MOST_OVERTAKEN = 2

# Until when a job is held for hot.
_hot: dict[JobSpec, float] = {}


def is_hot(spec: JobSpec) -> bool:
    """Return whether waiting for a load of a job is in vain."""
    return monotonic() < _hot.get(spec, 0.0)


def _mark(spec: JobSpec) -> None:
    _hot[spec] = monotonic() + conf.READ_WAIT.total_seconds()


def note_write(spec: JobSpec, outcomes: Iterable[Outcome]) -> None:
    """Note how the write of a reader ended: a job is not hot any more once a load was stored."""
    if Outcome.SUPERSEDED not in outcomes:
        _hot.pop(spec, None)
    elif spec in _hot:
        _mark(spec)


class Overtaken:
    """The loads that one reader waits for: how many of each key changes have overtaken."""

    def __init__(self) -> None:
        self._fences: dict[str, Token] = {}
        self._counts = Counter[str]()

    def look(self, spec: JobSpec, claims: Mapping[str, Record]) -> None:
        """Note who loads the awaited keys; a claim in another state of the fence follows an overtaken one."""
        for key, record in claims.items():
            before, self._fences[key] = self._fences.get(key, record.token), record.token
            self._counts[key] += before != record.token
            if self._counts[key] >= MOST_OVERTAKEN:
                _mark(spec)
