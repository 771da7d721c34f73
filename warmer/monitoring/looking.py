"""A look at one job: a sample of its declared ids, their lives in the cache, and its traffic."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.models import JobObservation
from warmer.monitoring import effectiveness
from warmer.monitoring.coverage import cover

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
    found = cover(spec)
    row.declared, row.sampled = found.declared, found.sampled
    row.cached, row.no_value = found.cached, found.no_value
    row.oldest_seconds = found.oldest
    _look_at_traffic(spec, row, keys=found.keys, cached=found.lives)


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
