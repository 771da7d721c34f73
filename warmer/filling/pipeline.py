"""A run in this process: ids -> batches -> (token -> loader -> write) -> report.

A batch is loaded while the previous one is written, so two are in memory at a time. The token of a batch is
taken before the previous batch's write is sent, because the server would answer only after that write.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from warmer import failpoints
from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.filling.batches import Batches
from warmer.filling.loading import Loaded, QueryCount, counted_queries, halved, load
from warmer.humanize import counted
from warmer.invalidation import is_pending
from warmer.keys import Batch, Id
from warmer.report import Outcome, Report, describe
from warmer.stores import Token, UnderWay, Written

logger = logging.getLogger(__name__)

# How often a batch is loaded if invalidations overtake it; after that its keys stay cold.
ATTEMPTS = 4
# The pause before the second attempt, doubled before each further one: 0.14 s in all.
FIRST_PAUSE_SECONDS = 0.02
# The name by which all jobs share the project's pace.
EVERY_JOB = "*"

Interrupts = tuple[type[Exception], ...]


def warm(spec: JobSpec, ids: Iterable[Id] | None = None, *, only_missing: bool = False) -> Report:
    """Load and write a job's keys in this process.

    Args:
        ids: the ids to warm instead of the declared ones.
        only_missing: skip keys that are cached.

    Returns:
        The outcome of every key.

    Raises:
        Exception: whatever the declared `ids` raises.
    """
    began = time.monotonic()
    batches = Batches(spec, ids)
    reports = warm_batches(spec, batches, keep_seconds=0.0 if only_missing else None)
    report = sum(reports, Report(job=spec.name))
    return (report + batches.report).timed(time.monotonic() - began)


def warm_batches(
    spec: JobSpec,
    batches: Iterable[Batch],
    *,
    keep_seconds: float | None = None,
    interrupts: Interrupts = (),
    raised: Interrupts = (),
) -> Iterator[Report]:
    """Load and write batches. A failing row costs one key; errors are counted, not raised.

    Args:
        keep_seconds: skip keys with at least this many seconds left; 0: all cached keys; None: skip none.
        interrupts: errors that end a batch, such as a time limit; its remaining keys fail.
        raised: which of these and `StoreUnavailable` to raise instead. Batches without a report must then be
            repeated, even if parts of them were written.

    Yields:
        The report of each batch, in order.
    """
    ready: _Ready | None = None
    sent: _Sent | None = None
    try:
        for keys in batches:
            batch = _Tally(spec, keys, interrupts, raised)
            token = _prepare(batch, keep_seconds)
            sent, ready = (_send(ready) if ready else None), None
            with batch.ending():
                ready = _load(batch, batch.left(), token)
            if sent is not None:
                yield _finish(sent)
                sent = None
            if ready is None:
                yield batch.report()
        if ready is not None:
            sent = _send(ready)
            yield _finish(sent)
            sent = None
    finally:
        if sent is not None and sent.writing is not None:
            sent.writing.abandon()


class _Tally:
    """The outcomes of the keys of one batch, and their cost."""

    def __init__(self, spec: JobSpec, keys: Batch, interrupts: Interrupts, raised: Interrupts) -> None:
        self.spec = spec
        self.interrupts = interrupts
        self.raised = raised
        self.queries = QueryCount()
        self._keys = keys
        self._outcomes: dict[str, Outcome] = {}
        self._errors: dict[str, str] = {}
        self._seconds = dict.fromkeys(("look", "load", "encode", "write", "wait"), 0.0)

    def left(self) -> Batch:
        """Return the keys without an outcome."""
        if not self._outcomes:
            return self._keys
        return {key: id for key, id in self._keys.items() if key not in self._outcomes}

    def settle(self, outcome: Outcome, keys: Iterable[str]) -> None:
        self._outcomes |= dict.fromkeys(keys, outcome)

    def fail(self, keys: Iterable[str], error: Exception) -> None:
        failed = dict.fromkeys(keys, describe(error))
        self.settle(Outcome.FAILED, failed)
        self._errors |= failed

    def take(self, written: Written, keys: Batch) -> Batch:
        """Count the outcomes of a write; return the keys that an invalidation overtook."""
        self._seconds["write"] -= written.encode_seconds  # spent while it was sent
        self._seconds["encode"] += written.encode_seconds
        self._errors |= written.errors
        self._outcomes |= written.outcomes
        superseded = [key for key, outcome in written.outcomes.items() if outcome is Outcome.SUPERSEDED]
        for key in superseded:
            del self._outcomes[key]
        return {key: keys[key] for key in superseded}

    def pause(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)
            self._seconds["wait"] += seconds

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - began

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Count queries; on an error that ends the batch (cache down, interrupt), fail the remaining keys."""
        ends: Interrupts = (StoreUnavailable, *self.interrupts)
        try:
            with counted_queries(self.queries):
                yield
        except self.raised:
            raise
        except ends as error:
            self.fail(self.left(), error)

    def report(self) -> Report:
        if self._errors:
            key, error = next(iter(self._errors.items()))
            counts = (len(self._errors), counted(len(self._outcomes), "key"))
            logger.error("%s: %d of %s failed; %s: %s", self.spec.name, *counts, key, error)
        report = Report.of(self.spec.name, self._outcomes, errors=self._errors, queries=self.queries.queries)
        parts = ("load", "encode", "write", "wait")
        seconds: dict[str, Any] = {f"{part}_seconds": self._seconds[part] for part in parts}
        return replace(report, seconds=sum(self._seconds.values()), **seconds)


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """Loaded keys to write under their token."""

    batch: _Tally
    keys: Batch
    token: Token
    loaded: Loaded


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """Keys that are being written; None: the write could not be sent, and they have failed."""

    batch: _Tally
    keys: Batch
    writing: UnderWay[Written] | None


def _prepare(batch: _Tally, keep_seconds: float | None) -> Token | None:
    """Skip fresh keys, and take the token for the others; None: no keys are left."""
    with batch.ending():
        if is_pending(batch.spec):  # values loaded here must not be cached
            batch.settle(Outcome.SUPERSEDED, batch.left())
        elif keep_seconds is not None:
            with batch.timed("look"):
                fresh = batch.spec.store.fresh(list(batch.left()), seconds=keep_seconds)
            batch.settle(Outcome.SKIPPED, fresh)
        if left := batch.left():
            return _take_token(batch, left)
    return None


def _take_token(batch: _Tally, keys: Batch) -> Token:
    """Wait for the pace of the job and of the project, and take a token for keys."""
    spec = batch.spec
    paces = ((spec.name, spec.max_batches_per_second), (EVERY_JOB, conf.MAX_BATCHES_PER_SECOND))
    for name, per_second in paces:
        if per_second:
            batch.pause(spec.store.turn(per_second=per_second, name=name))
    token = spec.store.token(keys)
    if failpoints.hooks:
        failpoints.reach("token_taken", spec.name)
    return token


def _load(batch: _Tally, keys: Batch, token: Token | None) -> _Ready | None:
    """Call the loader; None: the keys have outcomes already, because the loader failed or changed rows."""
    if token is None or not keys:
        return None
    try:
        with batch.timed("load"):
            loaded = load(batch.spec, keys)
    except batch.interrupts:
        raise
    except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
        halves = halved(keys, error)
        if not halves:
            batch.fail(keys, error)
        for half in halves:
            _fill(batch, half)
        return None
    if failpoints.hooks:
        failpoints.reach("loaded", batch.spec.name)
    if is_pending(batch.spec):  # the loader wrote rows that it read
        batch.settle(Outcome.SUPERSEDED, keys)
        return None
    return _Ready(batch=batch, keys=keys, token=token, loaded=loaded)


def _send(ready: _Ready) -> _Sent:
    """Send loaded values to the cache without waiting."""
    batch, writing = ready.batch, None
    with batch.ending(), batch.timed("write"):
        writing = batch.spec.store.begin_write(ready.token, ready.loaded.values, ready.loaded.absent)
    return _Sent(batch=batch, keys=ready.keys, writing=writing)


def _finish(sent: _Sent) -> Report:
    """Wait for the cache's answer, load overtaken keys again, and report the batch."""
    batch = sent.batch
    with batch.ending():
        _fill(batch, _superseded(sent), attempt=2)
    return batch.report()


def _superseded(sent: _Sent) -> Batch:
    if sent.writing is None:
        return {}
    try:
        with sent.batch.timed("write"):
            written = sent.writing.end()
    finally:
        sent.writing.abandon()
    if failpoints.hooks:
        failpoints.reach("written", sent.batch.spec.name)
    return sent.batch.take(written, sent.keys)


def _fill(batch: _Tally, keys: Batch, *, attempt: int = 1) -> None:
    """Load and write keys, repeatedly if invalidations overtake them, up to `ATTEMPTS` times."""
    while keys and attempt <= ATTEMPTS:
        if attempt > 1:
            batch.pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 2))
        ready = _load(batch, keys, _take_token(batch, keys))
        keys = _superseded(_send(ready)) if ready else {}
        attempt += 1
    batch.settle(Outcome.SUPERSEDED, keys)
