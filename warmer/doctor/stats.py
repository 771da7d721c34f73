"""Statistics of caches and jobs: the server's own INFO, and how much of each job is cached."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from warmer import invalidation
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.doctor.checks.keys import shown_command
from warmer.doctor.probe import probe
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.invalidation import Backlog
from warmer.models import JobObservation
from warmer.monitoring.coverage import Coverage, cover
from warmer.report import describe
from warmer.stores import open_server

if TYPE_CHECKING:
    from warmer.stores.inspection import Server

logger = logging.getLogger(__name__)
SLOW_COMMANDS = 5
# What it is called here -> in INFO. Counts are since the server started.
INFO = {
    "version": "redis_version",
    "valkey_version": "valkey_version",
    "uptime_seconds": "uptime_in_seconds",
    "clients": "connected_clients",
    "max_clients": "maxclients",
    "memory": "used_memory",
    "memory_peak": "used_memory_peak",
    "memory_limit": "maxmemory",
    "policy": "maxmemory_policy",
    "hits": "keyspace_hits",
    "misses": "keyspace_misses",
    "evicted": "evicted_keys",
    "expired": "expired_keys",
}


@dataclass(frozen=True, kw_only=True)
class CacheStats:
    """One cache.

    Attributes:
        location: where it is, without a login.
        error: why it cannot be used; empty if it can.
        probe_seconds: how long writing, reading and deleting a key took.
        server: what a Redis server tells: the names of `INFO`, `keys`, `expiring` and `slow`.
        unavailable: what the server does not allow this user to see.
    """

    alias: str
    backend: str
    location: str
    error: str = ""
    probe_seconds: float | None = None
    server: Mapping[str, Any] | None = None
    unavailable: tuple[str, ...] = ()

    @property
    def hit_rate(self) -> float | None:
        """The share of all lookups on the server that found their key, 0 to 1; None if there were none."""
        lookups = self.server["hits"] + self.server["misses"] if self.server else 0
        return self.server["hits"] / lookups if self.server and lookups else None


@dataclass(frozen=True, kw_only=True)
class JobStats:
    """One job: how much of it is cached, or why that is unknown, and the share of its reads that hit."""

    job: str
    cache: str
    coverage: Coverage | None = None
    hit_rate_hour: float | None = None
    hit_rate_day: float | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Some caches, their jobs, and what is pending on all databases (None: unknown)."""

    caches: tuple[CacheStats, ...]
    jobs: tuple[JobStats, ...]
    pending: Backlog | None

    @property
    def errors(self) -> list[str]:
        """What is wrong with caches and jobs."""
        broken = [f"{job.job}: {job.error}" for job in self.jobs if job.error]
        return [*(cache.error for cache in self.caches if cache.error), *broken]


def collect(aliases: Sequence[str]) -> Stats:
    """Return the statistics of some caches and the jobs that use them."""
    caches = {alias: _cache(alias) for alias in aliases}
    specs = [spec for spec in jobs.specs() if spec.cache in caches and not caches[spec.cache].error]
    pending, observed = None, {}
    try:
        pending, observed = invalidation.backlog(), JobObservation.objects.by_job(jobs)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Pending invalidations and hit rates are unknown: %s", describe(error))
    return Stats(
        caches=tuple(caches.values()),
        jobs=tuple(_job(spec, observed.get(spec.name)) for spec in specs),
        pending=pending,
    )


def _job(spec: JobSpec, observed: JobObservation | None) -> JobStats:
    rates: dict[str, Any] = {
        name: getattr(observed, name, None) for name in ("hit_rate_hour", "hit_rate_day")
    }
    try:
        return JobStats(job=spec.name, cache=spec.cache, coverage=cover(spec), **rates)
    except Exception as error:  # noqa: BLE001 - finding the ids is the project's own code
        return JobStats(job=spec.name, cache=spec.cache, error=describe(error))


def _cache(alias: str) -> CacheStats:
    options = settings.CACHES[alias]
    server = open_server(alias)
    location = server.place.text if server else str(options.get("LOCATION", ""))
    known: dict[str, Any] = {"alias": alias, "backend": options["BACKEND"], "location": location}
    try:
        if server is not None:
            known |= _ask(server)
        return CacheStats(**known, probe_seconds=probe(alias))
    except StoreUnavailable as error:
        return CacheStats(**known, error=str(error).rstrip("."))
    finally:
        if server is not None:
            server.close()


def _ask(server: Server) -> dict[str, Any]:
    """Return what a server tells this user. Raises StoreUnavailable if it does not answer."""
    found: dict[str, Any] | None = None
    slow, refused = None, []
    try:
        info = server.info
        database = info.get(f"db{server.place.database}", {})
        found = {name: info.get(source) for name, source in INFO.items()}
        found |= {"keys": database.get("keys", 0), "expiring": database.get("expires", 0)}
    except CommandRefused as error:
        refused.append(str(error))
    try:
        slow = [shown_command(each) for each in server.ask("SLOWLOG GET", SLOW_COMMANDS)]
    except CommandRefused as error:
        refused.append(str(error))
    return {"server": found and found | {"slow": slow}, "unavailable": tuple(refused)}
