"""A look at one job: a sample of its declared ids, their lives in the cache, and its traffic."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice

from warmer.conf import conf
from warmer.exceptions import InvalidId
from warmer.keys import Id
from warmer.models import JobObservation, State, WarmingRun
from warmer.monitoring import effectiveness
from warmer.sampling import Sample
from warmer.spec import JobSpec

# A share of so many is known to about 3 points at 95 % confidence.
SAMPLE = 1_000
# Of a job with more, the first so many ids stand for all: reading them takes about 0.1 s.
IDS_READ = 100_000
# What is not known of a cache that cannot count.
TRAFFIC = (
    *(f"{what}_{span}" for what in ("hits", "misses") for span in ("hour", "day")),
    *(f"panel_{what}" for what in ("drawn_at", "ends_at", "share")),
    *(f"watched{what}" for what in ("", "_read", "_share", "_misses", "_from", "_until")),
)


def look(spec: JobSpec, row: JobObservation) -> None:
    """Put into a row what is seen of its job now.

    Raises:
        StoreUnavailable: the cache does not answer.
        OperationalError, InterfaceError: the database does not.
        Exception: whatever the declared `ids` raises.
    """
    sample = Sample(lambda: _declared_ids(spec), size=SAMPLE)
    keys = list(dict.fromkeys(_keys(spec, sample)))
    left = spec.store.remaining(keys)
    ages = [spec.timeout.total_seconds() - seconds for seconds in left.values() if seconds is not None]
    row.declared, row.sampled, row.cached = sample.seen, len(keys), len(left)
    row.absent = min(len(keys) - len(left), round(_share_without_value(spec) * len(keys)))
    row.oldest_seconds = max(0.0, *ages) if ages else None
    _look_at_traffic(spec, row, keys=keys, cached=left)


def _look_at_traffic(
    spec: JobSpec, row: JobObservation, *, keys: Sequence[str], cached: Collection[str]
) -> None:
    tallies = spec.store.tallies
    if tallies is None or not conf.COUNT_READS:
        for name in TRAFFIC:
            setattr(row, name, None)
        row.panel = ""
        return
    recent = tallies.recent(row.looked_at.timestamp())
    row.hits_hour, row.misses_hour = recent.hits_hour, recent.misses_hour
    row.hits_day, row.misses_day = recent.hits_day, recent.misses_day
    effectiveness.follow(
        spec,
        row,
        tallies=tallies,
        standing=recent.panel,
        keys=keys,
        cached=cached,
        now=row.looked_at,
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
    runs = WarmingRun.objects.filter(job=spec.name, state=State.COMPLETE, only_missing=False)
    run = runs.order_by("-pk").first()
    return run.absent / run.report.keys if run is not None and run.report.keys else 0.0
