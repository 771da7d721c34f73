"""Make the checks: each on its own, so that one that breaks leaves the others alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from warmer.doctor import readings
from warmer.doctor.check import CacheCheck, ProjectCheck
from warmer.doctor.finding import Finding, NotApplicable, NotChecked, Severity
from warmer.doctor.project import Cache, Project
from warmer.exceptions import StoreUnavailable
from warmer.report import describe
from warmer.stores.looks import CommandRefused

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What all checks found.

    Attributes:
        answers: in the order of the checks.
    """

    answers: tuple[Finding | NotChecked, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the checks found."""
        return tuple(each for each in self.answers if isinstance(each, Finding))

    @property
    def not_checked(self) -> tuple[NotChecked, ...]:
        """What could not be looked at, and why."""
        return tuple(each for each in self.answers if isinstance(each, NotChecked))

    @property
    def ok(self) -> bool:
        """Whether no check found an error or broke."""
        return not any(finding.severity.is_bad for finding in self.findings)

    def count(self, severity: Severity) -> int:
        """Return how many findings are so bad."""
        return sum(finding.severity == severity for finding in self.findings)


def examine(
    project: Project,
    *,
    cache_checks: Iterable[CacheCheck],
    project_checks: Iterable[ProjectCheck],
    progress: Callable[[str], None] = lambda _check: None,
) -> Examination:
    """Make the checks.

    Args:
        progress: is told the id of each check before it is made.
    """
    answers: list[Finding | NotChecked] = []
    checks = list(cache_checks)
    for cache in project.caches:
        answers += _examine_cache(cache, project, checks, progress)
    done: dict[str, Severity] = {}
    for check in project_checks:
        progress(check.id)
        answers += _made(check, check.subject, done, lambda check=check: check.look(project))  # type: ignore[misc]
    return Examination(answers=tuple(answers))


def subject_of(cache: Cache) -> str:
    """Return what findings about a cache are headed by."""
    return f"cache {cache.alias!r}"


def _examine_cache(
    cache: Cache, project: Project, checks: Sequence[CacheCheck], progress: Callable[[str], None]
) -> Iterator[Finding | NotChecked]:
    subject, done = subject_of(cache), dict[str, Severity]()
    for check in checks:
        progress(check.id)
        if check.needs_redis and cache.server is None and not _failed_before(check, done):
            yield NotChecked(check=check.id, subject=subject, reason="it is not one Redis server")
            continue
        yield from _made(check, subject, done, lambda check=check: check.look(cache, project))  # type: ignore[misc]
    if cache.server is not None:
        _note(cache)


def _made(
    check: CacheCheck | ProjectCheck,
    subject: str,
    done: dict[str, Severity],
    look: Callable[[], Iterator[Finding]],
) -> Iterator[Finding | NotChecked]:
    """Make one check, unless one that it builds on has failed; say so when it breaks itself."""
    if failed := _failed_before(check, done):
        yield NotChecked(check=check.id, subject=subject, reason=f"{failed} failed")
        return
    found: list[Finding] = []
    try:
        for each in look():
            found.append(each)
    except NotApplicable as reason:
        yield NotChecked(check=check.id, subject=subject, reason=str(reason))
    except CommandRefused as refused:
        found.append(_refused(refused))
    except Exception as broken:
        logger.debug("The check %s broke", check.id, exc_info=True)
        found.append(_broken(broken))
    done[check.id] = max((each.severity for each in found), key=list(Severity).index, default=Severity.OK)
    yield from (replace(each, check=check.id, subject=subject) for each in found)


def _failed_before(check: CacheCheck | ProjectCheck, done: dict[str, Severity]) -> str:
    return next((each for each in check.after if each in done and done[each].is_bad), "")


def _refused(refused: CommandRefused) -> Finding:
    return Finding(
        severity=Severity.INFO,
        seen=f"{refused}.",
        why="Nothing is known here. Managed servers often forbid it: look in the provider's console.",
        fix="",
    )


def _broken(problem: Exception) -> Finding:
    away = isinstance(problem, StoreUnavailable)
    return Finding(
        severity=Severity.FAILED,
        seen=f"The check itself failed: {problem if away else describe(problem)}.".replace("..", "."),
        why="Nothing is known here.",
        fix="manage.py cache_doctor\nonce more: the server went away meanwhile."
        if away
        else "Report it with this line: the fault is the check's, not your set-up's.",
    )


def _note(cache: Cache) -> None:
    """Keep a reading of the server for the next examination; one that cannot be kept is no finding."""
    server: Any = cache.server
    try:
        readings.keep(server, readings.now(server))
    except (StoreUnavailable, CommandRefused) as problem:
        logger.debug("No reading of %s was kept: %s", cache.alias, describe(problem))
