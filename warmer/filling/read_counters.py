"""Traffic: how often each job is read, counted in the process and told to its cache now and then.

A reader adds to numbers of its own thread: no lock, no clock, no round trip. A thread of the process tells
the cache every ten seconds what was added, in one round trip a cache, and learns which keys to watch for
`warmer.monitoring.effectiveness`. A process that is killed loses what it counted since then; one that ends
tells it. When the answer of the cache is lost, what was told may be counted twice.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.report import Outcome, describe
from warmer.stores import Counted

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 10.0

# What is counted of a job. The outcomes are those of keys that readers loaded and stored.
COUNTS = (
    "hits",
    "misses",
    "past",
    "watched_misses",
    "invalidations",
    "invalidation_us",
    *(outcome.value for outcome in (Outcome.WRITTEN, Outcome.NO_VALUE, Outcome.SUPERSEDED, Outcome.FAILED)),
)


class Watch:
    """A panel of keys, and which of them this process has seen read."""

    __slots__ = ("keys", "panel", "read", "told")

    def __init__(self, panel: str, keys: frozenset[str]) -> None:
        self.panel = panel
        self.keys = keys
        self.read: set[str] = set()
        self.told: set[str] = set()


class _Tally:
    """What one thread counted of one job. Only that thread adds; the numbers never go down."""

    __slots__ = (*COUNTS, "told", "watch")

    def __init__(self, watch: Watch | None) -> None:
        for name in COUNTS:
            setattr(self, name, 0)
        self.told: dict[str, int] = {}
        self.watch = watch

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}

    def add(self, name: str, count: int) -> None:
        setattr(self, name, getattr(self, name) + count)


_New = tuple[_Tally, dict[str, int]]


class _Alive:
    """Ends with its thread."""


class _Here(threading.local):
    alive: _Alive
    tallies: dict[JobSpec, Any]  # of `_Tally`, whose slots the type checker cannot know


class _Process:
    """What is counted in this process. A forked child has one of its own: its parent tells the rest."""

    def __init__(self) -> None:
        self.here = _Here()
        self.threads: list[tuple[weakref.ref[_Alive], dict[JobSpec, Any]]] = []
        self.watches: dict[JobSpec, Watch] = {}
        self.flushing = threading.Lock()
        self.starting = threading.Lock()
        self.started = False
        self.flushed_at = time.monotonic()


_process = _Process()
_counts = False


def count_read(spec: JobSpec, keys: Collection[str], missed: Collection[str] = ()) -> None:
    """Count a read of some keys, of which some missed."""
    if not _counts:
        return
    try:
        tally = _process.here.tallies[spec]
    except (AttributeError, KeyError):
        tally = _new_tally(spec)
    misses = len(missed)
    tally.hits += len(keys) - misses
    tally.misses += misses
    watch: Watch | None = tally.watch
    if watch is not None and not watch.keys.isdisjoint(keys):
        seen = watch.keys.intersection(keys)
        if misses:
            tally.watched_misses += len(seen.intersection(missed))
            seen = seen.difference(missed)
        watch.read.update(seen)


def count_past(spec: JobSpec, keys: Collection[str]) -> None:
    """Count keys that were read past the cache."""
    if _counts:
        _tally(spec).past += len(keys)


def count_filled(spec: JobSpec, outcomes: Iterable[Outcome]) -> None:
    """Count what became of the keys that a reader loaded."""
    if _counts:
        tally = _tally(spec)
        for outcome, count in Counter(outcomes).items():
            tally.add(outcome.value, count)


def on_invalidated(sender: JobSpec, *, lag: timedelta, **_kwargs: Any) -> None:
    """Count an invalidation that was applied, so long after its change was committed."""
    if _counts:
        tally = _tally(sender)
        tally.invalidations += 1
        tally.invalidation_us += max(0, lag // timedelta(microseconds=1))


def flush() -> None:
    """Tell the caches what was counted. Never raises; what a cache does not take is told next time."""
    process = _process
    if not process.flushing.acquire(blocking=False):
        return  # another thread is at it
    try:
        process.flushed_at = time.monotonic()
        _flush(process)
    except Exception as error:
        logger.exception("What was counted could not be told: %s", describe(error))
    finally:
        process.flushing.release()


def flush_if_due() -> None:
    """Tell the caches, where the thread that should do it does not run, as under some servers."""
    if _counts and time.monotonic() - _process.flushed_at >= 2 * FLUSH_SECONDS:
        flush()


def watch_of(spec: JobSpec) -> Watch | None:
    """Return the panel of a job that this process watches."""
    return _process.watches.get(spec)


def forget() -> None:
    """Drop what was counted and not told: in a forked child it is its parent's."""
    global _process
    _process = _Process()


def follow_settings(**_kwargs: Any) -> None:
    """Count, or do not, as `WARMER_COUNT_READS` says."""
    global _counts
    _counts = conf.COUNT_READS


def on_setting(*, setting: str, **_kwargs: Any) -> None:
    """`setting_changed`, as tests send it."""
    if setting == "WARMER_COUNT_READS":
        follow_settings()


def start_flushing() -> None:
    """Have a thread of this process tell the caches every `FLUSH_SECONDS`, from now on."""
    thread = threading.Thread(target=_keep_flushing, args=(_process,), name="warmer-traffic", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # no thread can be had, as at the end of the process
        logger.debug("No thread tells what is counted: %s", error)


def _keep_flushing(process: _Process) -> None:
    while process is _process:
        flush()
        time.sleep(FLUSH_SECONDS)


def _tally(spec: JobSpec) -> Any:
    try:
        return _process.here.tallies[spec]
    except (AttributeError, KeyError):
        return _new_tally(spec)


def _new_tally(spec: JobSpec) -> Any:
    process = _process
    here = process.here
    if not hasattr(here, "tallies"):
        here.alive, here.tallies = _Alive(), {}
        process.threads.append((weakref.ref(here.alive), here.tallies))
    tally = here.tallies[spec] = _Tally(process.watches.get(spec))
    if not process.started:
        with process.starting:
            first, process.started = not process.started, True
        if first:
            start_flushing()
    return tally


def _flush(process: _Process) -> None:
    ended = [thread for thread in process.threads if thread[0]() is None]  # before their counts are read
    gathered = _gather(process)
    by_alias: dict[str, dict[JobSpec, Counted]] = defaultdict(dict)
    now = time.time()
    for spec, new in gathered.items():
        if spec.store.tallies is not None:
            by_alias[spec.cache][spec] = _counted(process, spec, now, new)
    unheard: set[JobSpec] = set()
    for alias, of_alias in by_alias.items():
        try:
            _tell(process, of_alias)
        except StoreUnavailable as error:
            unheard |= set(of_alias)
            logger.info("The reads of the cache %r are told later: %s", alias, describe(error))
    for spec, new in gathered.items():
        if spec not in unheard:
            for tally, counts in new:
                tally.told = counts
    for thread in () if unheard else ended:
        process.threads.remove(thread)
    for spec, tally in _tallies(process):
        tally.watch = process.watches.get(spec)


def _gather(process: _Process) -> dict[JobSpec, list[_New]]:
    """Return what was counted since it was last told: the tallies of each job, with their numbers now."""
    gathered: dict[JobSpec, list[_New]] = defaultdict(list)
    for spec, tally in _tallies(process):
        counts = tally.counts()
        if counts != tally.told:
            gathered[spec].append((tally, counts))
    return gathered


def _tallies(process: _Process) -> Iterator[tuple[JobSpec, _Tally]]:
    for _, tallies in list(process.threads):
        yield from list(tallies.items())


def _counted(process: _Process, spec: JobSpec, now: float, new: Iterable[_New]) -> Counted:
    more: Counter[str] = Counter()
    for tally, counts in new:
        more.update(counts)
        more.subtract(tally.told)
    watch = process.watches.get(spec)
    assert spec.store.tallies is not None
    return Counted(
        tallies=spec.store.tallies,
        at=now,
        counts=dict(+more),
        panel=watch.panel if watch else "",
        panel_read=watch.read.copy() - watch.told if watch else (),
        panel_misses=more["watched_misses"],
    )


def _tell(process: _Process, of_alias: Mapping[JobSpec, Counted]) -> None:
    """Add the counts to one cache, and follow the panels that it names."""
    counted = list(of_alias.values())
    panels = counted[0].tallies.add(counted)
    for (spec, each), panel in zip(of_alias.items(), panels, strict=True):
        watch = process.watches.get(spec)
        if watch is not None:
            watch.told.update(each.panel_read)
        if not panel:
            process.watches.pop(spec, None)
        elif panel != each.panel:
            process.watches[spec] = Watch(panel, each.tallies.panel_keys(panel))


os.register_at_fork(after_in_child=forget)
atexit.register(flush)
