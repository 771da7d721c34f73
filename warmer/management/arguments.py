"""Types for the arguments of commands: what cannot be meant is refused by the parser."""

from __future__ import annotations

from argparse import ArgumentTypeError

from django.conf import settings


def whole_number(text: str) -> int:
    """Return a number above 0; `1,000` and `1_000` are read as people write them."""
    try:
        number = int(text.replace(",", ""))
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def cache_alias(text: str) -> str:
    """Return the name of a cache that the settings have."""
    if text not in settings.CACHES:
        known = ", ".join(map(repr, settings.CACHES))
        raise ArgumentTypeError(f"there is no cache {text!r}: CACHES has {known}")
    return text
