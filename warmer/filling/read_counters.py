"""Read counters: how often each job is read, added up in the process and flushed to its cache.

A read costs a reader no round trip. A thread of the process flushes every ten seconds, in one round trip a
job. The answer says which sample of the keys the observations watch (see `warmer.monitoring`), and the next
flush names those of them that were read. A process that is killed loses what it counted since its last flush;
one that ends flushes.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.report import Outcome, describe
from warmer.stores import Counted

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0
# What is noted of a job between two flushes, at most: later reads of other keys are counted and not noted.
NOTED_KEYS = 20_000


class _Process:
    """What this process counted since its last flush. A forked child begins at nothing.

    Attributes:
        every: job -> the sample that is watched: one key in so many; 0: none.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flushing = threading.Lock()
        self.counted: defaultdict[JobSpec, Counted] = defaultdict(Counted)
        self.every: dict[JobSpec, int] = {}
        self.flushed_at = time.monotonic()
        self.has_thread = False


_process = _Process()
_is_on = False


def count_read(spec: JobSpec, keys: Collection[str], missed: Collection[str] = ()) -> None:
    """Count a read of some keys, of which some missed."""
    if not _is_on:
        return
    process = _process
    with process.lock:
        counted = process.counted[spec]
        counted.counts["hits"] += len(keys) - len(missed)
        if len(counted.read) < NOTED_KEYS:
            counted.read.update(keys if not missed else set(keys).difference(missed))
        if missed:
            counted.counts["misses"] += len(missed)
            if len(counted.missed) < NOTED_KEYS:
                counted.missed.update(iter(missed))  # a mapping would give numbers
    if not process.has_thread:
        start_flushing(process)


def count(spec: JobSpec, name: str, number: int = 1) -> None:
    """Add to another count: `past`, or what became of keys that a reader loaded."""
    if _is_on:
        with _process.lock:
            _process.counted[spec].counts[name] += number
        if not _process.has_thread:
            start_flushing(_process)


def count_filled(spec: JobSpec, outcomes: Iterable[Outcome]) -> None:
    """Count what became of the keys that a reader loaded."""
    for outcome, number in Counter(outcomes).items():
        count(spec, outcome.value, number)


def on_invalidated(sender: JobSpec, *, lag: timedelta, **_kwargs: Any) -> None:
    """Count an invalidation that was applied, so long after its change was committed."""
    count(sender, "invalidations")
    count(sender, "invalidation_us", max(0, lag // timedelta(microseconds=1)))


def flush() -> None:
    """Send the caches what was counted. Never raises; what a cache refuses is kept for the next time."""
    process = _process
    if not process.flushing.acquire(blocking=False):
        return  # another thread is at it
    try:
        process.flushed_at = time.monotonic()
        _flush(process)
    except Exception as error:
        logger.exception("The read counters were not flushed: %s", describe(error))
    finally:
        process.flushing.release()


def flush_if_due(**_kwargs: Any) -> None:
    """Flush where the thread that should do it does not run, as under some servers."""
    if _is_on and time.monotonic() - _process.flushed_at >= 2 * FLUSH_SECONDS:
        flush()


def forget() -> None:
    """Drop what was counted and not flushed: in a forked child it is its parent's."""
    global _process
    _process = _Process()


def follow_settings(*, setting: str = "WARMER_COUNT_READS", **_kwargs: Any) -> None:
    """Count, or do not, as `WARMER_COUNT_READS` says; a receiver of `setting_changed`."""
    global _is_on
    if setting == "WARMER_COUNT_READS":
        _is_on = conf.COUNT_READS


def start_flushing(process: _Process) -> None:
    """Have a thread of this process flush every `FLUSH_SECONDS` from now on."""
    process.has_thread = True
    thread = threading.Thread(
        target=_keep_flushing, args=(process,), name="warmer-read-counters", daemon=True
    )
    try:
        thread.start()
    except RuntimeError as error:  # no thread can be had, as at the end of the process
        logger.debug("No thread flushes the read counters: %s", error)


def _keep_flushing(process: _Process) -> None:
    while process is _process:
        flush()
        time.sleep(FLUSH_SECONDS)


def _flush(process: _Process) -> None:
    with process.lock:
        counted, process.counted = process.counted, defaultdict(Counted)
    down = set()
    for spec, each in counted.items():
        counters = spec.store.counters
        if counters is None:
            continue  # this cache keeps no counts
        if spec.cache not in down:
            try:
                sample = each.of_sample(process.every.get(spec, 0))
                process.every[spec] = counters.add(sample, now=time.time())
                continue
            except StoreUnavailable as error:
                down.add(spec.cache)
                logger.info("The reads of the cache %r are flushed later: %s", spec.cache, describe(error))
        with process.lock:
            process.counted[spec].add(each)


os.register_at_fork(after_in_child=forget)
atexit.register(flush)
