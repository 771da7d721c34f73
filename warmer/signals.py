"""Signals: the core sends them, receivers act and log. Only `apps.py` connects receivers."""

from django.dispatch import Signal

run_finished = Signal()
"""A run reached a final state. Sender: `WarmingRun`. Arguments: `run`."""

keys_invalidated = Signal()
"""Keys were invalidated. Sender: the job's spec.

Arguments: `keys` (of a single job: its key; None: all keys of a job by `@warm_many`), `lag` (the time since
the change was committed).
"""

pending_wanted = Signal()
"""A change is pending that a worker should apply now."""

queue_lengths_wanted = Signal()
"""The queue lengths are requested. Receivers return the lengths of the jobs' queues, by name."""

refresh_wanted = Signal()
"""A job with `on_change="refresh"` was invalidated. Sender: the job's spec."""

triggers_changed = Signal()
"""It is no longer known which tables have triggers."""
