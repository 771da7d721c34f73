"""Invalidation: changes are captured, recorded with the change, and applied after its commit."""

from warmer.invalidation.databases import captures_by_triggers
from warmer.invalidation.recording import invalidate, invalidate_for, request
from warmer.invalidation.records import Backlog, backlog
from warmer.invalidation.relay import Relay
from warmer.invalidation.transactions import is_pending

__all__ = [
    "Backlog",
    "Relay",
    "backlog",
    "captures_by_triggers",
    "invalidate",
    "invalidate_for",
    "is_pending",
    "request",
]
