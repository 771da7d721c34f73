"""Invalidation: changes are captured, recorded with the change, and applied after its commit."""

from warmer.invalidation.records import Backlog, backlog, by_job
from warmer.invalidation.relay import Relay
from warmer.invalidation.requests import invalidate, invalidate_for, request
from warmer.invalidation.transactions import captures_by_triggers, is_pending, reads_a_snapshot

__all__ = [
    "Backlog",
    "Relay",
    "backlog",
    "by_job",
    "captures_by_triggers",
    "invalidate",
    "invalidate_for",
    "is_pending",
    "reads_a_snapshot",
    "request",
]
