"""What a check finds: how bad it is, what was seen, why it matters, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is. `failed`: the check itself broke, so nothing is known."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    FAILED = "failed"

    @property
    def is_bad(self) -> bool:
        """Whether the command's exit status tells it."""
        return self in (Severity.ERROR, Severity.FAILED)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check found.

    Attributes:
        seen: what the check saw, in a sentence.
        why: what it leads to; empty when all is well.
        fix: what to do, a command or a setting a line, then what goes with it.
        check, subject: which check found it, and of what; the examination fills them in.
    """

    severity: Severity
    seen: str
    why: str = ""
    fix: str = ""
    check: str = ""
    subject: str = ""


@dataclass(frozen=True, kw_only=True)
class NotChecked:
    """A check that could not be made, and why."""

    check: str
    subject: str
    reason: str


class NotApplicable(Exception):
    """There is nothing that a check could look at; its text says why."""


def ok(seen: str) -> Finding:
    """Return that all is well."""
    return Finding(severity=Severity.OK, seen=seen)


def info(seen: str, *, why: str, fix: str = "") -> Finding:
    """Return something to know, which may be as intended."""
    return Finding(severity=Severity.INFO, seen=seen, why=why, fix=fix)


def warning(seen: str, *, why: str, fix: str) -> Finding:
    """Return something that will hurt, or that hurts a little now."""
    return Finding(severity=Severity.WARNING, seen=seen, why=why, fix=fix)


def error(seen: str, *, why: str, fix: str) -> Finding:
    """Return something that is broken now, or is open to anybody."""
    return Finding(severity=Severity.ERROR, seen=seen, why=why, fix=fix)
