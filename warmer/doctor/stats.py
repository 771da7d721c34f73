"""What a cache and its server say of themselves: connection, memory, keys, hits, what is slow."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import DatabaseError, InterfaceError

from warmer import invalidation
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.invalidation import Backlog
from warmer.models import JobObservation
from warmer.monitoring.coverage import Coverage, cover
from warmer.report import describe
from warmer.stores import open_server
from warmer.stores.looks import CommandRefused, Place, Reach, SlowCommand

logger = logging.getLogger(__name__)

SLOW_SHOWN = 5
TRIAL_SECONDS = 30
# What only a Redis server tells.
OF_A_SERVER = ("clients", "memory", "number of keys", "hit rate", "evictions", "expired keys")
SLOW_LOG = "slow log"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A key of our own, written, read back and removed.

    Attributes:
        seconds: how long the three calls took.
        problem: why it did not come back; empty: it did.
    """

    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class ServerStats:
    """What a Redis server says of itself. What is about its life is so since it started.

    Attributes:
        memory_limit: in bytes; None: there is none.
        keys: those of the cache's own database; the other counts are of the whole server.
        expiring: how many of the keys have a timeout.
        slow: the newest entries of the slow log; None: the server does not tell this user.
    """

    address: str
    version: str
    uptime: int
    clients: int
    most_clients: int | None
    memory: int
    memory_peak: int
    memory_limit: int | None
    policy: str
    keys: int
    expiring: int
    database: int
    hits: int
    misses: int
    evicted: int
    expired: int
    slow: tuple[SlowCommand, ...] | None

    @property
    def hit_rate(self) -> float | None:
        """The share of all lookups that found their key, 0 to 1; None without lookups."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


@dataclass(frozen=True, kw_only=True)
class CacheStats:
    """One cache.

    Attributes:
        error: why it does not answer; the rest is then not known.
        untold: what it has no way to tell, by name.
        remarks: why not, or what else is not seen, in words.
    """

    alias: str
    backend: str
    error: str = ""
    trial: Trial | None = None
    server: ServerStats | None = None
    untold: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it answers, and gives back what is written."""
        return not self.error and (self.trial is None or not self.trial.problem)


@dataclass(frozen=True, kw_only=True)
class JobStats:
    """One job: how much of it is cached, or why that is not known; and how its reads went.

    Attributes:
        hit_rate_hour, hit_rate_day: the share of its reads that hit, 0 to 1, as last observed.
    """

    job: str
    cache: str
    coverage: Coverage | None = None
    hit_rate_hour: float | None = None
    hit_rate_day: float | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Some caches, the jobs that use them, and the invalidations that wait.

    Attributes:
        pending: what waits on all databases; None: the database does not answer.
    """

    caches: tuple[CacheStats, ...]
    jobs: tuple[JobStats, ...]
    pending: Backlog | None

    @property
    def ok(self) -> bool:
        """Whether every cache takes and gives, and every job could be looked at."""
        return all(cache.ok for cache in self.caches) and not any(job.error for job in self.jobs)


def collect(aliases: Sequence[str]) -> Stats:
    """Look at caches, and at the jobs that use them."""
    found = {alias: look(alias) for alias in aliases}
    pending, observed = None, {}
    try:
        pending, observed = invalidation.backlog(), JobObservation.objects.by_job(jobs)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Pending invalidations and hit rates are not known: %s", describe(error))
    covered = []
    for spec in jobs.specs():
        cache = found.get(spec.cache)
        if cache is not None and not cache.error:  # else each job would wait for it anew
            covered.append(_look_at_job(spec, observed.get(spec.name)))
    return Stats(caches=tuple(found.values()), jobs=tuple(covered), pending=pending)


def _look_at_job(spec: JobSpec, observed: JobObservation | None) -> JobStats:
    try:
        return JobStats(
            job=spec.name,
            cache=spec.cache,
            coverage=cover(spec),
            hit_rate_hour=observed.hit_rate_hour if observed else None,
            hit_rate_day=observed.hit_rate_day if observed else None,
        )
    except Exception as error:  # noqa: BLE001 - the declared ids are the project's own
        return JobStats(job=spec.name, cache=spec.cache, error=describe(error))


def look(alias: str) -> CacheStats:
    """Look at a cache of `CACHES`; that it does not answer is an answer, too."""
    backend = str(settings.CACHES[alias]["BACKEND"])
    server = open_server(alias)
    if server is None:
        return CacheStats(
            alias=alias,
            backend=backend,
            trial=_try(alias),
            untold=(*OF_A_SERVER, SLOW_LOG, "lives of keys"),
            remarks=_remarks(caches[alias]),
        )
    try:
        reached = server.reach()
        if reached.how is not Reach.ANSWERS:
            error = (
                f"The cache {alias!r} at {server.place.text} does not answer: {reached.detail or reached.how}"
            )
            return CacheStats(alias=alias, backend=backend, error=error)
        writes = server.accepts_writes()
        trial = _try(alias) if writes.how is Reach.ANSWERS else Trial(problem=writes.detail)
        return CacheStats(alias=alias, backend=backend, trial=trial, **_ask(server))
    except StoreUnavailable as error:
        return CacheStats(alias=alias, backend=backend, error=str(error))
    finally:
        server.close()


def _try(alias: str) -> Trial:
    """Write a key through Django's interface, read it back and remove it."""
    cache, key, text = caches[alias], f"warmer-trial-{secrets.token_hex(8)}", secrets.token_hex(8)
    began = perf_counter()
    try:
        cache.set(key, text, TRIAL_SECONDS)
        found = cache.get(key)
        cache.delete(key)
    except Exception as error:  # noqa: BLE001 - what a backend raises when it is away is its own affair
        return Trial(problem=describe(error))
    if found != text:
        return Trial(problem="a key that was just written is not there when it is read")
    return Trial(seconds=perf_counter() - began)


def _remarks(cache: Any) -> tuple[str, ...]:
    """Say what is not to be taken for more than it is of a cache that is no Redis server."""
    if isinstance(cache, LocMemCache):
        return ("The site's processes hold other keys: each has such a cache of its own.",)
    return ()


def _ask(server: Any) -> dict[str, Any]:
    """Ask a server for all it tells this user; return that, what it does not tell, and why not."""
    untold: list[str] = []
    remarks: list[str] = []
    slow: tuple[SlowCommand, ...] | None = None
    seen = None
    try:
        slow = server.slow_log(SLOW_SHOWN)
    except CommandRefused as error:
        untold.append(SLOW_LOG)
        remarks.append(str(error))
    try:
        seen = _of_info(server.info, server.place, slow)
    except CommandRefused as error:
        untold = [*OF_A_SERVER, *untold]
        remarks = [str(error), *remarks]
    return {"server": seen, "untold": tuple(untold), "remarks": tuple(remarks)}


def _of_info(info: Mapping[str, Any], place: Place, slow: tuple[SlowCommand, ...] | None) -> ServerStats:
    redis = f"Redis {info.get('redis_version', '?')}"
    own = info.get("valkey_version")
    database: Mapping[str, Any] = info.get(f"db{place.database}", {})
    return ServerStats(
        address=place.text,
        version=f"Valkey {own} (as {redis})" if own else redis,
        uptime=_number(info, "uptime_in_seconds"),
        clients=_number(info, "connected_clients"),
        most_clients=_number(info, "maxclients") or None,
        memory=_number(info, "used_memory"),
        memory_peak=_number(info, "used_memory_peak"),
        memory_limit=_number(info, "maxmemory") or None,
        policy=str(info.get("maxmemory_policy", "")),
        keys=_number(database, "keys"),
        expiring=_number(database, "expires"),
        database=place.database,
        hits=_number(info, "keyspace_hits"),
        misses=_number(info, "keyspace_misses"),
        evicted=_number(info, "evicted_keys"),
        expired=_number(info, "expired_keys"),
        slow=slow,
    )


def _number(found: Mapping[str, Any], name: str) -> int:
    return int(found.get(name, 0))
