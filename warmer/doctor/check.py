"""Checks and their findings."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import partial
from typing import Any

# The fix of several checks.
SESSIONS_FIX = 'SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"'
USABLE = ("backend", "reachability")


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
        why: why it matters; empty if all is well.
        fix: what to do: first a line to paste, then further advice.
        check, subject: which check found it, and where; filled in by the diagnosis. Before, `check` is the
            system check that reports it too.
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
failed = partial(Finding, Severity.FAILED)


@dataclass(frozen=True)
class Check:
    """A check: a function whose name is the check's id, and its docstring the message if all is well.

    Attributes:
        run: yields findings about a `Cache` or the `Project`; none if all is well. It may raise
            `NotApplicable` (there is nothing to check), `CommandRefused` or `StoreUnavailable`.
        of_cache: whether it runs for each cache, instead of once for the project.
        after: checks that it depends on: it is skipped if one of them found an error.
        once: whether it is about a cache as a whole, so that it runs on one primary of a cluster.
    """

    run: Callable[[Any], Iterator[Finding]]
    of_cache: bool
    after: tuple[str, ...]
    once: bool = False

    @property
    def id(self) -> str:
        """Its name in reports and in the documentation."""
        return self.run.__name__.replace("_", "-")


def cache_check(*, after: tuple[str, ...] = USABLE, once: bool = False) -> Callable[..., Check]:
    """Make a function a check of each cache, by default skipped if its backend or server is not usable."""
    return partial(Check, of_cache=True, after=after, once=once)


def project_check(*, after: tuple[str, ...] = ()) -> Callable[..., Check]:
    """Make a function a check that runs once."""
    return partial(Check, of_cache=False, after=after)
