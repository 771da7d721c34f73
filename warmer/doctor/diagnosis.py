"""All checks in order, and how they run: a check that fails does not affect the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db import DatabaseError, InterfaceError

from warmer.doctor.check import CacheCheck, Check, Finding, ProjectCheck, Severity, info, ok, skipped
from warmer.doctor.checks import access, celery, connection, durability, jobs, keys, memory
from warmer.doctor.project import Cache, NotApplicable, Project
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.report import describe

logger = logging.getLogger(__name__)
UNKNOWN = "This could not be checked."

CACHE_CHECKS: tuple[CacheCheck, ...] = (
    connection.Backend(),
    connection.Reachability(),
    connection.Writes(),
    connection.Timeouts(),
    access.Exposure(),
    access.Pickle(),
    access.Fences(),
    durability.Persistence(),
    memory.Maxmemory(),
    memory.MaxmemoryPolicy(),
    memory.MemoryGrowth(),
    memory.Fragmentation(),
    memory.Evictions(),
    keys.KeysWithoutTtl(),
    keys.BigKeys(),
    keys.SlowLog(),
    durability.Replication(),
    durability.Sentinels(),
    celery.BrokerApart(),
)
PROJECT_CHECKS: tuple[ProjectCheck, ...] = (
    jobs.Database(),
    jobs.ClockSkew(),
    celery.BrokerAnswers(),
    celery.BrokerTimeouts(),
    access.BrokerExposure(),
    durability.BrokerPersistence(),
    celery.BrokerEviction(),
    access.CeleryPickle(),
    celery.Workers(),
    celery.QueueLength(),
    celery.BeatAlive(),
    jobs.SameCache(),
    jobs.JobTtl(),
    jobs.Capture(),
    jobs.PendingInvalidations(),
)


def diagnose(
    project: Project,
    *,
    cache_checks: Sequence[Check[Cache]] = CACHE_CHECKS,
    project_checks: Sequence[Check[Project]] = PROJECT_CHECKS,
) -> list[Finding]:
    """Run checks, by default all."""
    found = list[Finding]()
    aliases = set[str]()
    for cache in project.caches:
        checks = [each for each in cache_checks if not (each.once and cache.alias in aliases)]
        found += (replace(each, fix=cache.addressed(each.fix)) for each in _run_all(checks, cache))
        aliases.add(cache.alias)
    return [*found, *_run_all(project_checks, project)]


def _run_all(checks: Sequence[Check[Any]], target: Cache | Project) -> Iterator[Finding]:
    worst: dict[str, Severity] = {}
    for check in checks:
        found = list(_run(check, target, worst)) or [ok(str(check.__doc__).splitlines()[0])]
        worst[check.id] = max((each.severity for each in found), key=list(Severity).index)
        yield from (replace(each, check=check.id, subject=target.name) for each in found)


def _run(check: Check[Any], target: Cache | Project, worst: Mapping[str, Severity]) -> Iterator[Finding]:
    if failed := [each for each in check.after if each in worst and worst[each].is_bad]:
        yield skipped(f"{failed[0]} failed")
        return
    try:
        yield from check.run(target)
    except NotApplicable as reason:
        yield skipped(str(reason))
    except CommandRefused as refused:
        why = f"{UNKNOWN} Managed servers often forbid it: see your provider's console."
        yield info(f"{refused}.", why=why)
    except (StoreUnavailable, DatabaseError, InterfaceError) as problem:
        fix = "manage.py cache_doctor\nA server or database does not answer, or went away meanwhile."
        yield _failure(str(problem) if isinstance(problem, StoreUnavailable) else describe(problem), fix)
    except Exception as problem:
        logger.debug("The check %s failed", check.id, exc_info=True)
        yield _failure(describe(problem), "Report this as a bug in warmer, with the line above.")


def _failure(text: str, fix: str) -> Finding:
    message = f"The check itself failed: {text.rstrip('.')}."
    return Finding(Severity.FAILED, message, why=UNKNOWN, fix=fix)
