"""Checks and their findings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from warmer.doctor.project import Cache, Project

Target = TypeVar("Target", Cache, Project)
# The fix of several checks.
SESSIONS_FIX = 'SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"'


class Severity(StrEnum):
    """The severity of a finding, worst last.

    `skipped`: the check does not apply here. `failed`: the check itself raised an error.
    """

    SKIPPED = "skipped"
    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    FAILED = "failed"

    @property
    def is_bad(self) -> bool:
        """Whether it makes the command fail."""
        return self in (Severity.ERROR, Severity.FAILED)


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        message: what was found.
        why: why it matters; empty if all is well.
        fix: what to do: first a line to paste, then further advice.
        check, subject: which check found it, and where; filled in by the diagnosis.
    """

    severity: Severity
    message: str
    _: KW_ONLY
    why: str = ""
    fix: str = ""
    check: str = ""
    subject: str = ""


skipped = partial(Finding, Severity.SKIPPED)
ok = partial(Finding, Severity.OK)
info = partial(Finding, Severity.INFO)
warning = partial(Finding, Severity.WARNING)
error = partial(Finding, Severity.ERROR)


class Check(ABC, Generic[Target]):
    """A check, such as `class Maxmemory(CacheCheck, id="maxmemory")`. Its docstring is its message if all is
    well.

    Attributes:
        id: its name in reports and in the documentation.
        after: checks that it depends on: it is skipped if one of them found an error.
        once: whether it is about a cache as a whole, so that it runs on one primary of a cluster.
    """

    id: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    once: ClassVar[bool]

    def __init_subclass__(
        cls, *, id: str = "", after: tuple[str, ...] | None = None, once: bool = False, **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        cls.id, cls.once = id, once
        cls.after = cls.after if after is None else after

    @abstractmethod
    def run(self, target: Target) -> Iterator[Finding]:
        """Yield findings; none if all is well.

        Raises:
            NotApplicable: there is nothing to check.
            CommandRefused: the server does not allow a command that the check needs.
            StoreUnavailable: the server stopped answering.
        """


class CacheCheck(Check[Cache], after=("backend", "reachability")):
    """A check of each cache, by default skipped if its backend or its server is not usable."""


class ProjectCheck(Check[Project]):
    """A check that runs once."""
