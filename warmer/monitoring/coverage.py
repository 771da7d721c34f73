"""How much of a job is in the cache now, and how long it still lives: of a sample of its declared ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId
from warmer.keys import Id
from warmer.models import WarmingRun
from warmer.monitoring.sampling import Sample

# A share of so many is known to about 3 points at 95 % confidence.
SAMPLE = 1_000
# Of a job with more, the first so many ids stand for all: reading them takes about 0.1 s.
IDS_READ = 100_000


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a look at a job's keys found.

    Attributes:
        timeout: the seconds for which the job's keys are written.
        declared: how many ids are declared, at most `IDS_READ`; of a single job 1.
        keys: those that were looked at.
        lives: of those that are cached, the seconds that they have left (None: not told).
        no_value: how many of the others can have none: the loader has no value for about so many.
    """

    timeout: float
    declared: int
    keys: Sequence[str]
    lives: Mapping[str, float | None]
    no_value: int

    @property
    def sampled(self) -> int:
        """How many keys were looked at."""
        return len(self.keys)

    @property
    def cached(self) -> int:
        """How many of them are cached."""
        return len(self.lives)

    @property
    def share(self) -> float | None:
        """The share of the keys that can be cached and are, 0 to 1; None when there is none."""
        can_be = self.sampled - self.no_value
        return self.cached / can_be if can_be > 0 else None

    @property
    def shortest(self) -> float | None:
        """The seconds that the key has left which expires first; None when that is not known."""
        return min((left for left in self.lives.values() if left is not None), default=None)

    @property
    def oldest(self) -> float | None:
        """The seconds since the oldest was written, where a job's jitter counts as age, too."""
        return None if self.shortest is None else max(0.0, self.timeout - self.shortest)


def cover(spec: JobSpec) -> Coverage:
    """Look at a job: its declared ids, its last full run, and one round trip to the cache.

    Raises:
        StoreUnavailable: the cache does not answer.
        OperationalError, InterfaceError: the database does not.
        Exception: whatever the declared `ids` raises.
    """
    sample = Sample(lambda: _declared_ids(spec), size=SAMPLE)
    keys = list(dict.fromkeys(_keys(spec, sample)))
    lives = spec.store.remaining(keys)
    return Coverage(
        timeout=spec.timeout.total_seconds(),
        declared=sample.seen,
        keys=keys,
        lives=lives,
        no_value=min(len(keys) - len(lives), round(_share_without_value(spec) * len(keys))),
    )


def _declared_ids(spec: JobSpec) -> Iterable[Id | None]:
    """Return the declared ids, as far as they are read; of a single job, None."""
    return (None,) if spec.ids is None else islice(spec.find_ids(), IDS_READ)


def _keys(spec: JobSpec, ids: Iterable[Id | None]) -> Iterator[str]:
    for id in ids:
        try:
            yield spec.key.key(id)
        except InvalidId:
            continue  # a run counts it as failed


def _share_without_value(spec: JobSpec) -> float:
    """Return the share of the ids for which the last full run found no value: they are not cold."""
    run = WarmingRun.objects.complete_and_full(spec.name).first()
    return run.no_value / run.report.keys if run is not None and run.report.keys else 0.0
