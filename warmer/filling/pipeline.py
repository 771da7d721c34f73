"""One run in this process: ids -> batches -> (token -> loader -> write) -> report.

A batch is loaded while the one before is written. So two are in memory at a time, and the token of a batch is
taken before the write of the one before is sent: the server would answer only after that. Where fresh keys
are left alone, the cache looks through a batch while the next one is put together; and as long as all are
fresh, it is asked for the next one before its answer is read.

Looks share one connection, and none is under way while a token or a write wants one: who holds one and waits
for another may wait for a thread that does the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator

from warmer.declarations.spec import JobSpec
from warmer.filling.batch import Interrupts, Work
from warmer.filling.batches import Batches
from warmer.keys import Batch, Id
from warmer.report import Report

logger = logging.getLogger(__name__)


Progress = Callable[[Report], None]


def warm(
    spec: JobSpec,
    ids: Iterable[Id] | None = None,
    *,
    only_missing: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Load and write a job's keys, here and now.

    Args:
        ids: the ids to warm instead of the declared ones.
        only_missing: leave keys alone that are cached.
        progress: called with the report so far after each batch.

    Returns:
        What happened to every key.

    Raises:
        Exception: whatever the declared `ids` raises.
    """
    began = time.monotonic()
    batches = Batches(spec, ids)
    report = Report(job=spec.name)
    for each in warm_batches(spec, batches, keep_seconds=0.0 if only_missing else None):
        report += each
        if progress is not None:
            progress(report)
    return (report + batches.report).timed(time.monotonic() - began)


def warm_batches(
    spec: JobSpec,
    batches: Iterable[Batch],
    *,
    keep_seconds: float | None = None,
    interrupts: Interrupts = (),
) -> Iterator[Report]:
    """Load and write batches, each while the one before is written; yield what happened to each, in order.

    For `keep_seconds` and `interrupts` see `warm_batch`.
    """
    current: Work | None = None
    ahead: Work | None = None  # the cache is looking through it
    before: Work | None = None  # it was loaded, and is to be written
    looks = keep_seconds is not None
    idle = False  # all of the last batch was fresh; so is the next one, most likely
    try:
        for keys in batches:
            batch = Work(spec=spec, keys=keys, keep_seconds=keep_seconds, interrupts=interrupts)
            if not looks:
                before = yield from _step(batch, before)
                continue
            current, ahead = ahead, batch
            if current is None:
                batch.look()
                continue
            if idle:
                batch.look(behind=current)
            current.find_fresh()
            idle = not current.left and before is None
            if idle:
                batch.look()  # nothing else wants a connection now, which a look would keep from it
                yield current.end()
                continue
            batch.find_fresh()
            before = yield from _step(current, before)
            batch.look()
        if ahead is not None:
            ahead.find_fresh()
            before = yield from _step(ahead, before)
        if before is not None:
            before.send()
            last, before = before, None
            yield last.end()
    finally:
        for each in (current, ahead, before):
            if each is not None:
                each.abandon()


def _step(batch: Work, before: Work | None) -> Generator[Report, None, Work | None]:
    """Load a batch while the one before is written; return it if it is to be written, too."""
    batch.begin()
    if before is not None:
        before.send()
    batch.load()
    if before is not None:
        yield before.end()
    if batch.left:
        return batch
    yield batch.end()
    return None


def warm_batch(
    spec: JobSpec, keys: Batch, *, keep_seconds: float | None = None, interrupts: Interrupts = ()
) -> Report:
    """Load and write one batch. A row that fails costs one key; errors are counted, not raised.

    Args:
        keep_seconds: leave keys alone that live for so many seconds yet; 0: that are cached; None: none.
        interrupts: errors that end the work, e.g. of a time limit; the keys that are left have failed.
    """
    batch = Work(spec=spec, keys=keys, keep_seconds=keep_seconds, interrupts=interrupts)
    batch.look()
    batch.find_fresh()
    batch.begin()
    batch.load()
    batch.send()
    return batch.end()
