"""Coverage: the cached share of a job's keys and their age, from a sample of the declared keys."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId
from warmer.filling.batches import find_ids
from warmer.models import WarmingRun
from warmer.stores import in_sample

# 500 to 1,000 keys give a share to about 4 points at 95 % confidence.
SAMPLE = 1_000
# The first ids represent those of a larger job: reading this many takes about 0.2 s.
IDS_READ = 100_000


@dataclass(frozen=True, kw_only=True)
class HashSample:
    """The keys of a job whose hash is a multiple of `every`: the same in all processes and at all times."""

    keys: Sequence[str]
    every: int = 1

    def at_most(self, size: int) -> HashSample:
        """Return a small enough sample of these keys."""
        keys, every = self.keys, self.every
        while len(keys) > size:
            every *= 2
            keys = [key for key in keys if in_sample(key, every)]
        return HashSample(keys=keys, every=every)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The cached share of a job's keys.

    Attributes:
        declared: how many ids are declared, at most `IDS_READ`; 1 for a single job.
        sample: the keys that were looked up.
        cached_keys: those of them that are cached.
        no_value: about how many of the others have no value, according to the job's last full run.
        oldest: the seconds since the oldest key was written; a job's jitter counts as age.
        shortest: the seconds until the first key expires; None for both: unknown.
    """

    declared: int
    sample: HashSample
    cached_keys: Collection[str]
    no_value: int
    oldest: float | None
    shortest: float | None

    @property
    def sampled(self) -> int:
        """The number of looked-up keys."""
        return len(self.sample.keys)

    @property
    def cached(self) -> int:
        """The number of these that are cached."""
        return len(self.cached_keys)

    @property
    def share(self) -> float | None:
        """The cached share of the keys that have a value, 0 to 1; None if there are none."""
        with_value = self.sampled - self.no_value
        return self.cached / with_value if with_value > 0 else None


def cover(spec: JobSpec) -> Coverage:
    """Measure a job's coverage: read its declared ids, its last full run, and the cache in one round trip.

    Raises:
        StoreUnavailable: the cache does not answer.
        OperationalError, InterfaceError: the database does not answer.
        Exception: anything the declared `ids` raises.
    """
    keys, declared = dict[str, None](), 0
    for id in islice(find_ids(spec, at_most=IDS_READ), IDS_READ) if spec.keyed else (None,):
        declared += 1
        with suppress(InvalidId):  # a run counts it as failed
            keys[spec.key.key(id)] = None
    sample = HashSample(keys=list(keys)).at_most(SAMPLE)
    lives = spec.store.remaining(sample.keys)
    shortest = min((left for left in lives.values() if left is not None), default=None)
    run = WarmingRun.objects.complete_and_full(spec.name).first()
    # Ids for which the last full run found no value do not count as cold.
    share = run.no_value / run.report.keys if run is not None and run.report.keys else 0.0
    return Coverage(
        declared=declared,
        sample=sample,
        cached_keys=lives.keys(),
        no_value=min(len(sample.keys) - len(lives), round(share * len(sample.keys))),
        oldest=None if shortest is None else max(0.0, spec.timeout.total_seconds() - shortest),
        shortest=shortest,
    )
