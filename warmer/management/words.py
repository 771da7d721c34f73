"""Numbers as a person reads them."""

from __future__ import annotations

_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def size(number: float) -> str:
    """Return a number of bytes, e.g. "1.5 MiB"."""
    unit = 0
    while number >= 1024 and unit < len(_SIZES) - 1:
        number /= 1024
        unit += 1
    return f"{number:,.0f} {_SIZES[unit]}" if unit == 0 else f"{number:,.1f} {_SIZES[unit]}"


def span(seconds: float) -> str:
    """Return a duration by its two largest units, e.g. "3 d 4 h"."""
    rest = round(seconds)
    shown: list[str] = []
    for unit, name in _SPANS:
        number, rest = divmod(rest, unit)
        if shown:
            return " ".join([*shown, f"{number} {name}"] if number else shown)
        if number:
            shown.append(f"{number} {name}")
    return " ".join(shown) or "0 s"


def percent(share: float | None) -> str:
    """Return a share of 0 to 1, never rounded up to 100 %, nor down to 0 %; empty when it is not known."""
    if share is None:
        return ""
    if 0 < share < 1:
        share = min(max(share, 0.001), 0.999)
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. "1 key", "2,000 keys"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
