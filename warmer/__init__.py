"""Keep chosen cache keys warm, and never wrong."""

from warmer.api import warm, warm_many
from warmer.declarations.registry import jobs
from warmer.exceptions import (
    DeclarationError,
    InvalidId,
    LoaderError,
    StoreUnavailable,
    UnknownJob,
    UnreadableValue,
    UnsupportedValue,
    WarmerError,
)
from warmer.invalidation import invalidate_for
from warmer.report import Report
from warmer.signals import keys_invalidated, refresh_wanted, run_finished

__all__ = [
    "DeclarationError",
    "InvalidId",
    "LoaderError",
    "Report",
    "StoreUnavailable",
    "UnknownJob",
    "UnreadableValue",
    "UnsupportedValue",
    "WarmerError",
    "invalidate_for",
    "jobs",
    "keys_invalidated",
    "refresh_wanted",
    "run_finished",
    "warm",
    "warm_many",
]
