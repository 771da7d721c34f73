"""The outcomes of the keys of a run or a call, counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

MAX_ERROR_LENGTH = 500
# How many failed keys a report lists, and how many wrong keys an audit lists; all are counted.
MAX_FAILURES = 20

# Up to the last @ of a word, because an unescaped password may contain any of the characters before it.
# Each pattern begins where no other match of it can begin, so that long texts take linear time.
_BEFORE_AT = re.compile(r"(?<!\S)\S+@")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_AFTER_PORT = re.compile(r"(://[^\s/?#\[\]]*?:\d+):[^\s/]\S*")
_NAME = r"(?:passw(?:or)?d|passphrase|pwd|secret|token|(?:api|access|private)[_-]?key|session_?id)"
# `password=...` and `"accessToken": ...` with anything before and after the word, `api_key: ...` without.
_SECRET = re.compile(
    rf"""({_NAME}[\w-]{{0,20}}(?:["']?\s?==?|["']\s?:)\s?|(?<![a-z0-9]){_NAME}\s?:\s?"""
    r"""|\bauthorization["']?\s?[:=]\s?["']?(?:\w+\s)?|\bbearer\s|cast to integer value as )"""
    r"""(?:b?"(?:\\.|[^"\\])*"?[^\s,;)}\]&]*|b?'(?:\\.|[^'\\])*'?[^\s,;)}\]&]*|\S+)""",
    re.IGNORECASE,
)
_HOST = r"(?:[\w.%-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
_ADDRESS = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<login>[^/?#]*@)?(?P<place>(?:{_HOST}(?:,{_HOST})*)?(?:/[^\s?#@]*)?)"
    r"(?:[?#][^@]*)?",
    re.IGNORECASE,
)


class Outcome(StrEnum):
    """The outcome of one key."""

    WRITTEN = "written"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"
    NO_VALUE = "no_value"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A key that could not be warmed, and why."""

    key: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcomes of a run or a call, counted, with their cost.

    Attributes:
        written, skipped, superseded, no_value, failed: the number of keys with this outcome.
        batches: how many times ids were loaded and written together.
        queries: the number of database queries.
        seconds: the duration of the work, summed over the workers.
        load_seconds, encode_seconds, write_seconds: the share of the loader, the cache's serializer, and the
            cache. A batch is loaded while the previous one is written, so in one process they may add up to
            more than `seconds`.
        wait_seconds: the time spent waiting, for a turn (`max_batches_per_second`) and between loads of a
            batch that invalidations overtook.
        failures: the first failed keys with their errors, at most `MAX_FAILURES`.
    """

    job: str
    written: int = 0
    skipped: int = 0
    superseded: int = 0
    no_value: int = 0
    failed: int = 0
    batches: int = 0
    queries: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    encode_seconds: float = 0.0
    write_seconds: float = 0.0
    wait_seconds: float = 0.0
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of(
        cls, job: str, outcomes: Mapping[str, Outcome], errors: Mapping[str, str], **figures: Any
    ) -> Report:
        """Count outcomes; `errors` are those of the failed keys, `figures` the other fields of the report."""
        found = list(outcomes.values())
        # `count` compares by identity first, which is several times as fast as a Counter's hashing.
        counts: dict[str, Any] = {outcome.value: found.count(outcome) for outcome in Outcome}
        failures = (Failure(key=key, error=error) for key, error in errors.items())
        return cls(job=job, failures=tuple(islice(failures, MAX_FAILURES)), **counts, **figures)

    @property
    def keys(self) -> int:
        """The number of keys in the report."""
        return self.written + self.skipped + self.superseded + self.no_value + self.failed

    @property
    def ok(self) -> bool:
        """Whether no key failed. A superseded key did not fail: it is cold, and the next read loads it."""
        return self.failed == 0

    def __add__(self, other: Report) -> Report:
        failures = (self.failures + other.failures)[:MAX_FAILURES]
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMMED}
        return Report(job=self.job, failures=failures, **sums)


SECONDS = ("seconds", "load_seconds", "encode_seconds", "write_seconds", "wait_seconds")
_SUMMED = (*(outcome.value for outcome in Outcome), "batches", "queries", *SECONDS)


def describe(error: BaseException) -> str:
    """Return an error as one line for a log, a report or a page: of limited length, and without secrets."""
    text = masked(" ".join(str(error).split()).rstrip("."))
    name = type(error).__name__
    return f"{name}: {text}"[:MAX_ERROR_LENGTH] if text else name


def masked(text: str) -> str:
    """Return a string with `***` in place of anything that looks like a secret.

    That is credentials in a URL, the value after `password=`, `token:` and the like, and the value of an
    `Authorization` header.
    """
    return _AFTER_PORT.sub(r"\1:***", _SECRET.sub(r"\1***", _BEFORE_AT.sub(_without_login, text)))


def masked_address(address: str) -> str:
    """Return an address for a message: with `***` for its credentials, and without its query string.

    Only parts that cannot be secret are shown: nothing of an address without a scheme, and only the scheme of
    one that cannot be parsed, e.g. because its password is not escaped.
    """
    if found := _ADDRESS.fullmatch(address):
        return f"{found['scheme']}{'***@' if found['login'] else ''}{found['place']}"
    scheme = _SCHEME.match(address)
    return f"{scheme[0] if scheme else ''}***" if address else ""


def _without_login(found: re.Match[str]) -> str:
    """Mask credentials before the host of a URL; an e-mail address, which has no colon, stays unchanged."""
    if ":" not in found[0]:
        return found[0]
    scheme = _SCHEME.search(found[0])
    return f"{found[0][: scheme.end()]}***@" if scheme else "***@"
