"""Read counters: reads of each job, summed in the process and flushed to the job's cache.

A thread of the process flushes every ten seconds, in one round trip per job. The answer says which sample of
keys the observations watch (see `warmer.monitoring`), and the next flush names those of them that were read.
A killed process loses the counts since its last flush; a process that exits flushes.
"""

import atexit
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, log_level
from warmer.report import describe
from warmer.stores import Counted

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0
# The most keys recorded per job between two flushes; reads of further keys are counted but not recorded.
NOTED_KEYS = 20_000


class _Process:
    """The counts of this process since its last flush. A forked child starts empty."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counted: defaultdict[JobSpec, Counted] = defaultdict(Counted)
        self.flushed_at = time.monotonic()
        self.has_thread = False


_process = _Process()
_is_on = False


def count_read(spec: JobSpec, keys: Collection[str], missed: Collection[str] = ()) -> None:
    """Count a read of keys, and its misses."""
    found = set(keys).difference(missed) if missed else keys
    count(spec, {"hits": len(found), "misses": len(missed)}, read=found, missed=missed)


def on_invalidated(sender: JobSpec, *, lag: timedelta, **_kwargs: Any) -> None:
    """Count an applied invalidation, and the time since its change was committed."""
    count(sender, {"invalidations": 1, "invalidation_us": max(0, lag // timedelta(microseconds=1))})


def count(
    spec: JobSpec, counts: Mapping[str, int], *, read: Iterable[str] = (), missed: Iterable[str] = ()
) -> None:
    """Add to the counts of a job, and record the keys that were read or missed."""
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
            counted.missed.update(iter(missed))  # a mapping would add its values
    if not process.has_thread:
        start_flushing(process)


def flush(**_kwargs: Any) -> None:
    """Send the counts to the caches. Never raises; rejected counts are kept for the next flush."""
    process = _process
    process.flushed_at = time.monotonic()
    with process.lock:
        counted, process.counted = process.counted, defaultdict(Counted)
    for spec, each in counted.items():
        try:
            if counters := spec.store.counters:  # a cache of another kind keeps no counts
                counters.add(each, now=time.time())
        except Exception as error:  # noqa: BLE001 - the flushing thread must not end
            level = log_level(error, logging.INFO if isinstance(error, StoreUnavailable) else logging.ERROR)
            logger.log(level, "The reads of %s are flushed later: %s", spec.name, describe(error))
            with process.lock:
                process.counted[spec].add(each)


def flush_if_due(**_kwargs: Any) -> None:
    """Flush if the flushing thread does not run, as under some servers."""
    if _is_on and time.monotonic() - _process.flushed_at >= 2 * FLUSH_SECONDS:
        flush()


def forget() -> None:
    """Drop unflushed counts: in a forked child they belong to the parent."""
    global _process
    _process = _Process()


def follow_settings(*, setting: str = "WARMER_COUNT_READS", **_kwargs: Any) -> None:
    """Start or stop counting according to `WARMER_COUNT_READS`; a receiver of `setting_changed`."""
    global _is_on
    if setting == "WARMER_COUNT_READS":
        _is_on = conf.COUNT_READS


def start_flushing(process: _Process) -> None:
    """Start a thread that flushes every `FLUSH_SECONDS`."""
    process.has_thread = True

    def keep_flushing() -> None:
        while process is _process:
            flush()
            time.sleep(FLUSH_SECONDS)

    with suppress(RuntimeError):  # no thread can be started, e.g. at the end of the process
        threading.Thread(target=keep_flushing, name="warmer-read-counters", daemon=True).start()


os.register_at_fork(after_in_child=forget)
atexit.register(flush)
