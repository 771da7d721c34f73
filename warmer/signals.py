"""Signals: the core sends them, receivers act and log. Nothing below `apps.py` connects one."""

from django.dispatch import Signal

run_finished = Signal()
"""A run reached a final state. Sender: `WarmingRun`. Arguments: `run`."""

change_recorded = Signal()
"""What a change concerns was recorded. Sender: None, or a spec that was invalidated as such.

Arguments: `found` (concerns with their ids), `using`, `by_hand` (the project asked for it itself).
"""

keys_invalidated = Signal()
"""Keys were invalidated. Sender: the job's spec.

Arguments: `keys` (None: all of the job's), `lag` (how long after the change was committed).
"""

pending_wanted = Signal()
"""The outbox holds something that a worker should do now."""

refresh_wanted = Signal()
"""A job with `on_change="refresh"` was invalidated. Sender: the job's spec."""
