"""What the bypass detector says."""

from __future__ import annotations

from collections.abc import Callable

from warmer import BypassError, bypass


def found(call: Callable[[], object] = bypass.check) -> str:
    """Return the message of a bypass that a call raises; empty when there is none."""
    try:
        call()
    except BypassError as error:
        return str(error)
    return ""
