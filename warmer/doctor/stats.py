"""Statistics of caches and jobs, as plain data: times in seconds, sizes in bytes, shares of 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from warmer import invalidation
from warmer.declarations.registry import jobs
from warmer.declarations.spec import JobSpec
from warmer.doctor.checks.connection import probe
from warmer.doctor.checks.memory import shown_command
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.humanize import by_reason
from warmer.models import JobObservation
from warmer.monitoring.observation import cover
from warmer.report import describe, masked
from warmer.stores import open_servers

if TYPE_CHECKING:
    from warmer.stores.inspection import Server

SLOW_COMMANDS = 5
# Name here -> name in INFO. Counts are since the server started.
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
    """Return statistics of caches, of the jobs that use them, and of all pending invalidations."""
    caches = [each for alias in aliases for each in _servers(alias)]
    errors = [each["error"] for each in caches if each["error"]]
    observed = dict[str, JobObservation]()
    with suppress(DatabaseError, InterfaceError):  # it is reported below
        observed = JobObservation.objects.in_bulk(jobs, field_name="job")
    # A job whose cache does not answer would only wait for it again.
    away = {each["alias"] for each in caches if each["error"]}
    specs = [spec for spec in jobs.specs() if spec.cache in aliases and spec.cache not in away]
    rows = [_job(spec, observed.get(spec.name)) for spec in specs]
    errors += by_reason((each["job"], each["error"]) for each in rows if each["error"])
    backlog = invalidation.backlog()
    pending = {
        "count": backlog.count if backlog.answered else None,
        "oldest_seconds": backlog.age.total_seconds(),
        "unanswered": dict(backlog.unanswered),
    }
    errors += [f"database {alias!r}: {why}" for alias, why in backlog.unanswered.items()]
    return {"status": int(bool(errors)), "errors": errors, "caches": caches, "jobs": rows, "pending": pending}


def _job(spec: JobSpec, observed: JobObservation | None) -> dict[str, Any]:
    found, error = None, ""
    try:
        found = cover(spec)
    except Exception as problem:  # noqa: BLE001 - finding the ids is the project's own code
        error = describe(problem)
    counts = ("declared", "sampled", "cached", "no_value", "share")
    return {
        "job": spec.name,
        "cache": spec.cache,
        "error": error,
        **{name: getattr(found, name, None) for name in counts},
        "oldest_seconds": found and found.oldest,
        "expires_in_seconds": found and found.shortest,
        **{name: getattr(observed, name, None) for name in ("hit_rate_hour", "hit_rate_day")},
    }


def _servers(alias: str) -> list[dict[str, Any]]:
    """Return statistics of a cache (for a cluster, of each primary), or in `error` why it cannot be used."""
    options = settings.CACHES[alias]
    location = masked(str(options.get("LOCATION", "")))
    known = {"alias": alias, "backend": options["BACKEND"], "location": location, "error": ""}
    known |= {"probe_seconds": None, "server": None, "unavailable": []}
    error, seconds, found = "", None, [known]
    try:
        found = [known | _ask(server) for server in open_servers(alias)] or found
        seconds = probe(alias)
    except StoreUnavailable as problem:
        error = str(problem).rstrip(".")
    return [each | {"probe_seconds": seconds, "error": each["error"] or error} for each in found]


def _ask(server: Server) -> dict[str, Any]:
    """Return statistics of a server, and which of them it does not allow this user to see."""
    found, refused, error = dict[str, Any](), list[str](), ""
    try:
        info = server.info
        found = {name: info.get(source) for name, source in INFO.items()}
        lookups = found["hits"] + found["misses"]
        found["hit_rate"] = found["hits"] / lookups if lookups else None
        keys = info.get(f"db{server.place.database}", {})
        found |= {"keys": keys.get("keys", 0), "expiring": keys.get("expires", 0), "slow": None}
        found["slow"] = [shown_command(each) for each in server.ask("SLOWLOG GET", SLOW_COMMANDS)]
    except CommandRefused as refusal:
        refused.append(str(refusal))
    except StoreUnavailable as problem:
        error = str(problem).rstrip(".")
    finally:
        server.close()
    return {"location": server.place.text, "error": error, "server": found or None, "unavailable": refused}
