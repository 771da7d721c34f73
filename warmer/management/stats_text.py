"""Statistics as text for a terminal, and as plain data for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from warmer.doctor.stats import CacheStats, JobStats, ServerStats, Stats
from warmer.humanize import counted, duration, percent, size
from warmer.invalidation import Backlog
from warmer.management.base import table
from warmer.monitoring.coverage import Coverage

LABEL_WIDTH = 13


def page(found: Stats) -> str:
    """Return all of it, as a person reads it."""
    parts = ["\n".join(_cache(cache)) for cache in found.caches]
    if found.jobs:
        parts.append("\n".join(_jobs(found.jobs)))
    parts.append(f"Pending invalidations: {_pending(found.pending)}")
    return "\n\n".join(parts)


def troubles(found: Stats) -> str:
    """Return what is wrong, in one line."""
    lines = [_trouble(cache) for cache in found.caches if not cache.ok]
    lines += [f"{job.job} could not be looked at: {job.error}" for job in found.jobs if job.error]
    return "; ".join(line.rstrip(".") for line in lines) + "."


def as_plain_data(found: Stats) -> dict[str, Any]:
    """Return all of it for JSON; shares are of 0 to 1, times are seconds, sizes are bytes."""
    pending = found.pending
    return {
        "status": 0 if found.ok else 1,
        "caches": [asdict(cache) | {"ok": cache.ok} | _hit_rate(cache) for cache in found.caches],
        "jobs": [_plain_job(job) for job in found.jobs],
        "pending": None
        if pending is None
        else {"count": pending.count, "oldest_seconds": pending.age.total_seconds()},
    }


def _plain_job(job: JobStats) -> dict[str, Any]:
    names = ("declared", "sampled", "cached", "no_value", "share", "shortest", "oldest")
    seen = {name: getattr(job.coverage, name, None) for name in names}
    rates = {"hit_rate_hour": job.hit_rate_hour, "hit_rate_day": job.hit_rate_day}
    return {"job": job.job, "cache": job.cache, "error": job.error, **seen, **rates}


def _hit_rate(cache: CacheStats) -> dict[str, Any]:
    return {"hit_rate": cache.server.hit_rate} if cache.server else {}


def _trouble(cache: CacheStats) -> str:
    problem = cache.trial.problem if cache.trial else ""
    return cache.error or f"The cache {cache.alias!r} does not give back what it is given: {problem}"


def _cache(cache: CacheStats) -> Iterator[str]:
    yield f"Cache {cache.alias!r}: {cache.backend}"
    if not cache.ok:
        yield _line("connection", f"FAILED: {_trouble(cache)}")
    elif cache.trial is not None:
        yield _line("connection", f"takes a key and gives it back, in {cache.trial.seconds * 1000:.1f} ms")
    if cache.server is not None:
        for label, text in _server(cache.server):
            yield _line(label, text)
    if cache.untold:
        yield _line("not told", ", ".join(cache.untold))
    for text in cache.remarks:
        yield _line("", text)


def _server(server: ServerStats) -> Iterator[tuple[str, str]]:
    yield "server", f"{server.version} at {server.address}, up {duration(server.uptime)}"
    most = f" of at most {server.most_clients:,}" if server.most_clients else ""
    yield "clients", f"{server.clients:,}{most}"
    yield "memory", _memory(server)
    yield "keys", f"{server.keys:,} in database {server.database}, {server.expiring:,} of them with a timeout"
    if server.hit_rate is None:
        yield "hit rate", "no key was looked for yet"
    else:
        lookups = server.hits + server.misses
        yield "hit rate", f"{percent(server.hit_rate)} of {lookups:,} lookups since its start"
    yield "evicted", counted(server.evicted, "key")
    yield "expired", counted(server.expired, "key")
    if server.slow is not None:
        if not server.slow:
            yield "slow log", "empty"
        for number, slow in enumerate(server.slow):
            when = timezone.localtime(datetime.fromtimestamp(slow.at, UTC))
            yield "" if number else "slow log", f"{slow.ms:,.1f} ms {slow.text}, {when:%Y-%m-%d %H:%M:%S}"


def _memory(server: ServerStats) -> str:
    if server.memory_limit is None:
        limit = "no limit"
    else:
        share = percent(server.memory / server.memory_limit)
        limit = f"{share} of {size(server.memory_limit)}, {server.policy}"
    return f"{size(server.memory)}, {limit}; at most it was {size(server.memory_peak)}"


def _jobs(jobs: tuple[JobStats, ...]) -> Iterator[str]:
    rows = [_row(job, job.coverage) for job in jobs if job.coverage is not None]
    if rows:
        # Some caches do not tell the lives of keys, and not every job was read and observed.
        names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        yield table(names, [[row[name] for name in names] for row in rows])
    for job in jobs:
        if job.error:
            yield f"{job.job} could not be looked at: {job.error}"


def _row(job: JobStats, found: Coverage) -> dict[str, Any]:
    return {
        "job": job.job,
        "cache": job.cache,
        "ids": found.declared,
        "looked at": found.sampled,
        "cached": found.cached,
        "no value": found.no_value or None,
        "share": "" if found.share is None else percent(found.share),
        "oldest": None if found.oldest is None else duration(found.oldest),
        "first expires in": None if found.shortest is None else duration(found.shortest),
        "hits, hour": None if job.hit_rate_hour is None else percent(job.hit_rate_hour),
        "hits, day": None if job.hit_rate_day is None else percent(job.hit_rate_day),
    }


def _pending(pending: Backlog | None) -> str:
    if pending is None:
        return "not known: the database does not answer"
    if not pending.count:
        return "none"
    return f"{pending.count:,}, the oldest for {duration(pending.age.total_seconds())}"


def _line(label: str, text: str) -> str:
    return f"  {label:<{LABEL_WIDTH}}{text}"
