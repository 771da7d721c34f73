"""Format durations, shares, sizes and counts for people, in this one place."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")


def duration(length: timedelta | float, *, rough: bool = False) -> str:
    """Return a length of time in its two largest units, e.g. "1 h 30 min".

    Args:
        length: a timedelta, or seconds.
        rough: use a single unit instead, the largest that gives at least 2, e.g. "90 min".
    """
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if rough:
        size, unit = next((each for each in _UNITS if seconds >= 2 * each[0]), _UNITS[-1])
        return f"{round(seconds / size)} {unit}"
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    rest, parts = round(seconds), list[str]()
    for size, unit in [each for each in _UNITS if rest >= each[0]][:2]:
        number, rest = divmod(rest, size)
        parts += [f"{number} {unit}"] if number else []
    return " ".join(parts)


def local(moment: datetime) -> datetime:
    """Return a time in the current time zone; with `USE_TZ` off, it already is in `TIME_ZONE`."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def ago(moment: datetime) -> str:
    """Return how long ago a time was, e.g. "12 min ago"."""
    return f"{duration(max(timedelta(0), timezone.now() - moment), rough=True)} ago"


def percent(share: float) -> str:
    """Return a share of 0 to 1 as a percentage, never rounded up to 100 % or down to 0 %."""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def size(number: float) -> str:
    """Return a number of bytes, e.g. "1.5 MiB"."""
    unit = 0
    while number >= 1024 and unit < len(_SIZES) - 1:
        number /= 1024
        unit += 1
    return f"{number:,.1f}".removesuffix(".0") + f" {_SIZES[unit]}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. "1 key", "2,000 keys"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def by_reason(failures: Iterable[tuple[str, str]], *, at_most: int | None = None) -> list[str]:
    """Return a line for each reason with the names to which it applies, e.g. "a, b and 5 more: it is full".

    Args:
        failures: names, each with its reason.
        at_most: how many names a line lists; None: all.
    """
    names = defaultdict[str, list[str]](list)
    for name, reason in failures:
        names[reason].append(name)
    lines = []
    for reason, every in names.items():
        some = every[:at_most]
        more = f" and {len(every) - len(some):,} more" if len(every) > len(some) else ""
        lines.append(f"{', '.join(some)}{more}: {reason}")
    return lines
