"""Statistics of caches and jobs, as plain data: times in seconds, sizes in bytes, shares of 0 to 1."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from warmer import invalidation
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.doctor.checks.connection import probe
from warmer.doctor.checks.keys import shown_command
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.models import JobObservation
from warmer.monitoring.coverage import cover
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


def collect(aliases: Sequence[str]) -> dict[str, Any]:
    """Return the statistics of some caches, of the jobs that use them, and of what is pending everywhere."""
    caches = {alias: _cache(alias) for alias in aliases}
    observed, pending = dict[str, JobObservation](), None
    try:
        observed, backlog = JobObservation.objects.in_bulk(jobs, field_name="job"), invalidation.backlog()
        pending = {
            "count": backlog.count,
            "oldest_seconds": backlog.age.total_seconds(),
            "unanswered": dict(backlog.unanswered),
        }
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Pending invalidations and hit rates are unknown: %s", describe(error))
    # A job whose cache does not answer would only wait for it once more.
    specs = [spec for spec in jobs.specs() if spec.cache in caches and not caches[spec.cache]["error"]]
    rows = [_job(spec, observed.get(spec.name)) for spec in specs]
    errors = [each["error"] for each in caches.values() if each["error"]]
    errors += [f"{each['job']}: {each['error']}" for each in rows if each["error"]]
    return {
        "status": int(bool(errors)),
        "errors": errors,
        "caches": list(caches.values()),
        "jobs": rows,
        "pending": pending,
    }


def _job(spec: JobSpec, observed: JobObservation | None) -> dict[str, Any]:
    found, error = None, ""
    try:
        found = cover(spec)
    except Exception as problem:  # noqa: BLE001 - finding the ids is the project's own code
        error = describe(problem)
    return {
        "job": spec.name,
        "cache": spec.cache,
        "error": error,
        "declared": found and found.declared,
        "sampled": found and found.sampled,
        "cached": found and found.cached,
        "no_value": found and found.no_value,
        "share": found and found.share,
        "oldest_seconds": found and found.oldest,
        "expires_in_seconds": found and found.shortest,
        "hit_rate_hour": observed and observed.hit_rate_hour,
        "hit_rate_day": observed and observed.hit_rate_day,
    }


def _cache(alias: str) -> dict[str, Any]:
    """Return what a cache tells, and in `error` why it cannot be used."""
    options, server = settings.CACHES[alias], None
    found: dict[str, Any] = {
        "alias": alias,
        "backend": options["BACKEND"],
        "location": "",
        "error": "",
        "probe_seconds": None,
        "server": None,
        "unavailable": [],
    }
    try:
        server = open_server(alias)
        found["location"] = server.place.text if server else str(options.get("LOCATION", ""))
        if server is not None:
            found |= _ask(server)
        found["probe_seconds"] = probe(alias)
    except StoreUnavailable as error:
        found["error"] = str(error).rstrip(".")
    finally:
        if server is not None:
            server.close()
    return found


def _ask(server: Server) -> dict[str, Any]:
    """Return what a server tells, and what it does not allow this user to see."""
    found: dict[str, Any] = {}
    refused: list[str] = []
    try:
        info = server.info
        found = {name: info.get(source) for name, source in INFO.items()}
        lookups = found["hits"] + found["misses"]
        found["hit_rate"] = found["hits"] / lookups if lookups else None
        keys = info.get(f"db{server.place.database}", {})
        found |= {"keys": keys.get("keys", 0), "expiring": keys.get("expires", 0), "slow": None}
        found["slow"] = [shown_command(each) for each in server.ask("SLOWLOG GET", SLOW_COMMANDS)]
    except CommandRefused as error:
        refused.append(str(error))
    return {"server": found or None, "unavailable": refused}
