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
from collections.abc import Collection, Iterable, Mapping
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
        self.counted: defaultdict[JobSpec, Counted] = defaultdict(Counted)
        self.every: dict[JobSpec, int] = {}
        self.flushed_at = time.monotonic()
        self.has_thread = False


_process = _Process()
_is_on = False


def count_read(spec: JobSpec, keys: Collection[str], missed: Collection[str] = ()) -> None:
    """Count a read of some keys, and those that it missed."""
    if not missed:
        count(spec, {"hits": len(keys)}, read=keys)
    else:
        found = set(keys).difference(missed)
        count(spec, {"hits": len(found), "misses": len(missed)}, read=found, missed=missed)


def count_filled(spec: JobSpec, outcomes: Iterable[Outcome]) -> None:
    """Count the outcomes of keys that a reader loaded."""
    count(spec, Counter(outcome.value for outcome in outcomes))


def on_invalidated(sender: JobSpec, *, lag: timedelta, **_kwargs: Any) -> None:
    """Count an applied invalidation, and the time since its change was committed."""
    count(sender, {"invalidations": 1, "invalidation_us": max(0, lag // timedelta(microseconds=1))})


def count(
    spec: JobSpec, counts: Mapping[str, int], *, read: Iterable[str] = (), missed: Iterable[str] = ()
) -> None:
    """Add to the counts of a job, and note keys that were read or missed."""
    if not _is_on:
        return
    process = _process
    with process.lock:
        counted = process.counted[spec]
        for name, number in counts.items():
            counted.counts[name] += number
        if len(counted.read) < NOTED_KEYS:
            counted.read.update(read)
        if missed and len(counted.missed) < NOTED_KEYS:
            counted.missed.update(iter(missed))  # of a mapping it would add the values
    if not process.has_thread:
        start_flushing(process)


def flush(**_kwargs: Any) -> None:
    """Send the caches what was counted. Never raises; what a cache refuses is kept for the next time."""
    process = _process
    process.flushed_at = time.monotonic()
    with process.lock:
        counted, process.counted = process.counted, defaultdict(Counted)
    down = set()
    for spec, each in counted.items():
        if spec.cache in down or not _is_sent(process, spec, each):
            down.add(spec.cache)
            with process.lock:
                process.counted[spec].add(each)


def _is_sent(process: _Process, spec: JobSpec, counted: Counted) -> bool:
    try:
        counters = spec.store.counters
        if counters is not None:  # else this cache keeps no counts
            sample = counted.of_sample(process.every.get(spec, 0))
            process.every[spec] = counters.add(sample, now=time.time())
    except StoreUnavailable as error:
        logger.info("The reads of the cache %r are flushed later: %s", spec.cache, describe(error))
        return False
    except Exception as error:
        logger.exception("The reads of %s are lost: %s", spec.name, describe(error))
    return True


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


os.register_at_fork(after_in_child=forget)
atexit.register(flush)
