"""What an audit found: a verdict on each key, counted, and the keys that are wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from warmer.monitoring.audit.confidence import percent_right, wrong_at_most
from warmer.report import MAX_FAILURES, Failure


class Verdict(StrEnum):
    """What an audit says of one key."""

    RIGHT = "right"
    WRONG = "wrong"
    MISSING = "missing"
    ABSENT = "no_value"
    CHANGED = "changed"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class WrongKey:
    """A key whose cached value is not what the loader gives, and the fields that differ."""

    key: str
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit of one job found.

    Attributes:
        whole: every declared key was looked at, and not a sample of them.
        sampled: how many keys were looked at: the sum of the six counts that follow.
        right: cached, and what the loader gives.
        wrong: cached, and not what the loader gives, or the loader has no value for it any more; or it is
            cached that there is no value (`negative_timeout`), and there is one.
        missing: the loader has a value, and nothing is cached.
        no_value: the loader has no value, and no value is cached.
        changed: invalidated again and again while the audit looked, so not judged.
        failed: the loader raised, or the value cannot be cached or compared, so not judged.
        undeclared: how many of the keys that were looked at are not among the declared ids.
        repaired: how many wrong keys were invalidated.
        wrong_keys, failures: the first of them, at most `MAX_FAILURES`.
        note: what was not looked at, and why.
        error: why the audit ended early; empty when it did not.
    """

    job: str
    whole: bool = True
    sampled: int = 0
    right: int = 0
    wrong: int = 0
    missing: int = 0
    no_value: int = 0
    changed: int = 0
    failed: int = 0
    undeclared: int = 0
    repaired: int = 0
    batches: int = 0
    queries: int = 0
    seconds: float = 0.0
    wrong_keys: tuple[WrongKey, ...] = ()
    failures: tuple[Failure, ...] = ()
    note: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, and nothing failed."""
        return not (self.wrong or self.failed or self.error)

    @property
    def right_at_least(self) -> float | None:
        """The share of what was judged that is right; of a sample, the least at 95 % confidence.

        None when nothing was judged. Missing keys are not judged: they are cold, not wrong.
        """
        wrong = self._wrong_share
        return None if wrong is None else 1 - wrong

    @property
    def share(self) -> str:
        """The share that is right as text, in as many digits as the keys that were judged support."""
        wrong = self._wrong_share
        if wrong is None:
            return "nothing judged"
        if self.whole:
            return percent_right(wrong)
        return "too few to tell" if wrong >= 1 else f"at least {percent_right(wrong)}"

    @property
    def _wrong_share(self) -> float | None:
        """The share of what was judged that is wrong; of a sample, the most at 95 % confidence."""
        judged = self.right + self.wrong
        if not judged:
            return None
        return self.wrong / judged if self.whole else wrong_at_most(self.wrong, judged)

    def __add__(self, other: Audit) -> Audit:
        limit = MAX_FAILURES
        return replace(
            self,
            wrong_keys=(self.wrong_keys + other.wrong_keys)[:limit],
            failures=(self.failures + other.failures)[:limit],
            **{name: getattr(self, name) + getattr(other, name) for name in _SUMMED},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as plain data."""
        return asdict(self) | {"share": self.share, "right_at_least": self.right_at_least}


COUNTED = tuple(verdict.value for verdict in Verdict)
_SUMMED = ("sampled", *COUNTED, "undeclared", "repaired", "batches", "queries")
