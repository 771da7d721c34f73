"""What settings may hold: of the type of their default, numbers of at least so much, names that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, get_type_hints

from django.conf import settings

from warmer.conf import Settings, conf

# A worker waits for its turn, and a task has a time limit: so no turn is further apart than 10 s.
SLOWEST_PACE = 0.1
MOMENT = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
# The others, such as those of which 0 means "off", may be 0.
LEAST: dict[str, Any] = {
    "BATCH_SIZE": 1,
    "BATCHES_OUT": 1,
    "FENCE_ATTEMPTS": 1,
    "FENCE_RECORDS": 1,
    "FENCE_AGE": MOMENT,
    "READ_CLAIM": MOMENT,
    "RUN_EXPIRY": SECOND,
    "STALL_TIMEOUT": SECOND,
    "AUDIT_EVERY": SECOND,
}
# What may be 0 for "off", but then at least so much.
LEAST_UNLESS_OFF = {"MAX_BATCHES_PER_SECOND": SLOWEST_PACE}
_WORDS = {
    bool: "True or False",
    str: "a text",
    int: "a whole number",
    float: "a number",
    timedelta: "a timedelta",
}


@dataclass(frozen=True, kw_only=True)
class WrongSetting:
    """A setting of the project that cannot work."""

    name: str
    value: Any
    expected: str
    default: Any


def wrong_settings() -> Iterator[WrongSetting]:
    """Yield the project's settings that are of another type than their default, or cannot be meant."""
    for name in _kinds():
        wrong = _wrong(name)
        if wrong is not None:
            yield wrong


def usable(name: str) -> Any:
    """Return what the project sets, or the default where that cannot work.

    For what is looked at before any check can say so: else the project did not even start, with a traceback
    that names a job, and not the setting.
    """
    wrong = _wrong(name)
    return getattr(conf, name) if wrong is None else wrong.default


def moment_of(text: str) -> datetime:
    """Return the moment that a text says, as ISO 8601 with its offset.

    Raises:
        ValueError: it says none; without an offset nobody knows when it is.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return moment


@cache
def _kinds() -> dict[str, Any]:
    """Return the type of each setting: asked for once, as each declared job looks at some."""
    return get_type_hints(Settings)


def _wrong(name: str) -> WrongSetting | None:
    kind = _kinds()[name]
    default, value = vars(Settings)[name], getattr(conf, name)
    least = LEAST.get(name, kind() if kind in (int, float, timedelta) else None)
    unless_off = LEAST_UNLESS_OFF.get(name)
    expected = ""
    if not (_is_of(kind, value, default) and _is_enough(value, least, unless_off)):
        least = least if unless_off is None else unless_off
        expected = _WORDS[kind] + ("" if least is None else f" of at least {_shown(least)}")
        expected += "" if unless_off is None else ", or 0 for no limit"
    elif name in _MEANINGS:
        expected = _MEANINGS[name](value)
    if not expected:
        return None
    return WrongSetting(name=f"WARMER_{name}", value=value, expected=expected, default=default)


def _no_cache(alias: str) -> str:
    return "" if alias in settings.CACHES else f"a name in CACHES: {', '.join(map(repr, settings.CACHES))}"


def _no_moment(text: str | None) -> str:
    try:
        _ = moment_of(text) if text else None
    except ValueError:
        return "a moment with its offset, e.g. '2026-11-30T12:00:00+00:00'"
    return ""


def _no_queue(name: str) -> str:
    return "" if name else "the name of a Celery queue"


def _no_capture(name: str) -> str:
    return "" if name in ("", "signals", "triggers") else "'signals' or 'triggers'"


# What a text must be besides; empty where it is.
_MEANINGS: dict[str, Callable[[Any], str]] = {
    "CACHE": _no_cache,
    "QUEUE": _no_queue,
    "READY_WARM_SINCE": _no_moment,
    "CAPTURE": _no_capture,
}


def _is_of(kind: type, value: object, default: object) -> bool:
    if kind is bool:
        return value in (True, False)  # as 1 and 0 are, which some write
    if kind is str:
        return isinstance(value, str) or (value is None and not default)
    if kind is timedelta:
        return isinstance(value, timedelta)
    return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)


def _is_enough(value: Any, least: Any, unless_off: Any) -> bool:
    if unless_off is not None:
        return bool(value == 0 or value >= unless_off)
    return bool(least is None or value >= least)


def _shown(least: Any) -> str:
    if isinstance(least, timedelta):
        return f"timedelta(seconds={least.total_seconds():g})"
    return f"{least:g}"
