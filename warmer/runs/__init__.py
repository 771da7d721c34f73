"""A run and its batches: each counted once, with an end to every run."""

from warmer.runs.lifecycle import (
    Opened,
    beat,
    cancel,
    close_stalled,
    expect,
    fail,
    finish_if_done,
    is_current,
    open_run,
    record_batches,
    request_follow_up,
    start,
)
