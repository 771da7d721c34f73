"""Cache warming for Django that never puts stale data back."""

from warmer.api import warm, warm_many
from warmer.declarations.registry import jobs
from warmer.exceptions import DeclarationError, StoreUnavailable, WarmerError
from warmer.invalidation import invalidate_for
from warmer.report import Report
from warmer.signals import keys_invalidated, run_finished

__all__ = [
    "DeclarationError",
    "Report",
    "StoreUnavailable",
    "WarmerError",
    "invalidate_for",
    "jobs",
    "keys_invalidated",
    "run_finished",
    "warm",
    "warm_many",
]
