"""The job."""

from __future__ import annotations

from datetime import timedelta

from tests.system.longapp import LONG_NAME
from warmer import warm


@warm(f"{LONG_NAME}:key", name=LONG_NAME, timeout=timedelta(hours=1))
def long() -> int:
    return 1
