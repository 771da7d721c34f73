"""Which block of `transaction.atomic` is being left."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from warmer.bypass.frames import DJANGO, MODELS, OURS, stack

_CALLS_OF_ITS_OWN = (MODELS, os.path.join(DJANGO, "contrib", "contenttypes", "fields.py"), OURS)
_TRANSACTION = os.path.join(DJANGO, "db", "transaction.py")
_CONTEXTLIB = str(contextlib.__file__)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A block of `transaction.atomic` that is being left.

    Attributes:
        block: the block.
        by_django: whether a single call of Django, or of ours, opened it for itself.
    """

    block: Any
    by_django: bool


def ending_block() -> Ending | None:
    """Return the block that the caller's stack is leaving."""
    frames = stack()
    for frame in frames:
        if frame.f_code.co_filename == _TRANSACTION and frame.f_code.co_name == "__exit__":
            callers = (each.f_code.co_filename for each in frames)
            caller = next((path for path in callers if path != _CONTEXTLIB), "")
            return Ending(block=frame.f_locals["self"], by_django=caller.startswith(_CALLS_OF_ITS_OWN))
    return None
