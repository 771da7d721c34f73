"""Signals: the core sends them, receivers act and log. Nothing below `apps.py` connects one."""

from django.dispatch import Signal

run_finished = Signal()
"""A run reached a final state. Sender: `WarmingRun`. Arguments: `run`."""

keys_invalidated = Signal()
"""Keys were invalidated. Sender: the job's spec.

Arguments: `keys` (None: all of the job's), `lag` (how long after the change was committed).
"""

pending_wanted = Signal()
"""A change waits that a worker should apply now."""

queue_lengths_wanted = Signal()
"""Someone asks how many messages wait. Receivers return the lengths of the jobs' queues, by name."""

refresh_wanted = Signal()
"""A job with `on_change="refresh"` was invalidated. Sender: the job's spec."""

triggers_changed = Signal()
"""Which tables have triggers is no longer known."""
