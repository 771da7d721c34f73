"""Invalidation: changes are captured, recorded with the change, and applied after its commit."""

from warmer.invalidation.apply import other_cache
from warmer.invalidation.recording import invalidate, invalidate_for, request
from warmer.invalidation.records import captures_by_triggers
from warmer.invalidation.relay import Relay
from warmer.invalidation.transactions import is_pending
from warmer.invalidation.upkeep import Backlog, backlog, is_read_only

__all__ = [
    "Backlog",
    "Relay",
    "backlog",
    "captures_by_triggers",
    "invalidate",
    "invalidate_for",
    "is_pending",
    "is_read_only",
    "other_cache",
    "request",
]
