"""The ledger: what became of each run, counted once, with an end to every run."""

from warmer.runs.ending import cancel, close_stalled, fail
from warmer.runs.forgetting import forget
from warmer.runs.opening import Opened, open_run, request_follow_up
from warmer.runs.progress import Recorded, beat, expect, is_current, record_batches, start

__all__ = [
    "Opened",
    "Recorded",
    "beat",
    "cancel",
    "close_stalled",
    "expect",
    "fail",
    "forget",
    "is_current",
    "open_run",
    "record_batches",
    "request_follow_up",
    "start",
]
