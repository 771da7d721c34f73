"""What settings may hold: of the type of their default, and numbers and lengths of at least so much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_type_hints

from warmer.conf import Settings, conf

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
    """Yield the project's settings that are of another type than their default, or less than the least."""
    for name, kind in get_type_hints(Settings).items():
        default, value = vars(Settings)[name], getattr(conf, name)
        least = LEAST.get(name, kind() if kind in (int, float, timedelta) else None)
        if _is_of(kind, value, default) and (least is None or value >= least):
            continue
        expected = _WORDS[kind] + ("" if least is None else f" of at least {_shown(least)}")
        yield WrongSetting(name=f"WARMER_{name}", value=value, expected=expected, default=default)


def _is_of(kind: type, value: object, default: object) -> bool:
    if kind is bool:
        return value in (True, False)  # as 1 and 0 are, which some write
    if kind is str:
        return isinstance(value, str) or (value is None and not default)
    if kind is timedelta:
        return isinstance(value, timedelta)
    return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)


def _shown(least: Any) -> str:
    if isinstance(least, timedelta):
        return f"timedelta(seconds={least.total_seconds():g})"
    return f"{least:g}"
