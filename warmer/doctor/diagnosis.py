"""All checks in order, and how they run: a check that fails does not affect the others."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from django.db import DatabaseError, InterfaceError

from warmer.doctor.check import Check, Finding, failed, info, ok, skipped
from warmer.doctor.checks import celery, connection, jobs, memory, safety
from warmer.doctor.project import Cache, NotApplicable, Project
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.report import describe

logger = logging.getLogger(__name__)
UNKNOWN = "This could not be checked."

# In the order of the report: a check comes after those that it depends on.
MODULES = (connection, jobs, celery, safety, memory)
CHECKS = tuple(each for module in MODULES for each in vars(module).values() if isinstance(each, Check))


def diagnose(project: Project, *, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Run checks, by default all."""
    found, aliases = list[Finding](), set[str]()
    for cache in project.caches:
        chosen = [each for each in checks if each.of_cache and not (each.once and cache.alias in aliases)]
        found += _run_all(chosen, cache)
        aliases.add(cache.alias)
    return [*found, *_run_all([each for each in checks if not each.of_cache], project)]


def _run_all(checks: Sequence[Check], target: Cache | Project) -> Iterator[Finding]:
    bad = set[str]()
    for check in checks:
        found = list(_run(check, target, bad)) or [ok(str(check.run.__doc__))]
        if any(each.severity.is_bad for each in found):
            bad.add(check.id)
        yield from (replace(each, check=check.id, subject=target.name) for each in found)


def _run(check: Check, target: Cache | Project, bad: Collection[str]) -> Iterator[Finding]:
    try:
        if needed := [each for each in check.after if each in bad]:
            raise NotApplicable(f"{needed[0]} failed")
        yield from check.run(target)
    except NotApplicable as reason:
        yield skipped(str(reason))
    except CommandRefused as refused:
        why = f"{UNKNOWN} Managed servers often forbid it: see your provider's console."
        yield info(f"{refused}.", why=why)
    except Exception as problem:
        logger.debug("The check %s failed", check.id, exc_info=True)
        fix = "Report this as a bug in warmer, with the line above."
        if isinstance(problem, (StoreUnavailable, DatabaseError, InterfaceError)):
            fix = (
                "manage.py cache_doctor\nA server or database does not answer, or has just stopped answering."
            )
        text = str(problem) if isinstance(problem, StoreUnavailable) else describe(problem)
        yield failed(f"The check itself failed: {text.rstrip('.')}.", why=UNKNOWN, fix=fix)
