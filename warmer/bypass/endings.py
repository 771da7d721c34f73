"""Which block of `transaction.atomic` is being left."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

from warmer.bypass.frames import DJANGO, MODELS, OURS

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
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _TRANSACTION and frame.f_code.co_name == "__exit__":
            caller = frame.f_back
            while caller is not None and caller.f_code.co_filename == _CONTEXTLIB:
                caller = caller.f_back
            by_django = caller is not None and caller.f_code.co_filename.startswith(_CALLS_OF_ITS_OWN)
            return Ending(block=frame.f_locals["self"], by_django=by_django)
        frame = frame.f_back
    return None
