"""A run in this process: ids -> batches -> (token -> loader -> write) -> report.

A batch is loaded while the previous one is written, so two are in memory at a time. The token of a batch is
taken before the previous batch's write is sent, because the server would answer only after that write.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.failpoints import reach
from warmer.filling.loading import Batches, Loaded, QueryCount, halved, load
from warmer.humanize import counted
from warmer.invalidation import is_pending
from warmer.keys import Batch, Id
from warmer.report import SECONDS, Outcome, Report, describe
from warmer.stores import Token, UnderWay, Written

logger = logging.getLogger(__name__)

ATTEMPTS = 4  # to load a batch that invalidations overtake; after that its keys stay cold
FIRST_PAUSE_SECONDS = 0.02  # before the second attempt, doubled before each further one: 0.14 s in all
EVERY_JOB = "*"  # the name by which all jobs share the project's pace
AFTER_INTERRUPT = "use a faster loader, a smaller batch_size or a longer limit"

Interrupts = tuple[type[Exception], ...]


def warm(spec: JobSpec, ids: Iterable[Id] | None = None, *, only_missing: bool = False) -> Report:
    """Load and write a job's keys in this process; see `KeyedJob.warm`."""
    began = time.monotonic()
    batches = Batches(spec, ids)
    reports = warm_batches(spec, batches, keep_seconds=0.0 if only_missing else None)
    report = sum(reports, Report(job=spec.name)) + batches.report
    return replace(report, seconds=time.monotonic() - began)


def warm_batches(
    spec: JobSpec,
    batches: Iterable[Batch],
    *,
    keep_seconds: float | None = None,
    interrupts: Interrupts = (),
    raised: Interrupts = (),
) -> Iterator[Report]:
    """Load and write batches, and yield their reports. A failing row costs one key; errors are counted.

    Args:
        keep_seconds: skip keys with at least this many seconds left; 0: all cached keys; None: skip none.
        interrupts: errors that end a batch, such as a time limit; its remaining keys fail.
        raised: which of these and `StoreUnavailable` to raise instead. Batches without a report must then be
            repeated, even if parts of them were written.
    """
    before: _Batch | None = None
    try:
        for keys in batches:
            batch = _Batch(spec, keys, interrupts, raised)
            batch.take_token(keep_seconds)
            if before is not None:
                before.send()
            is_loaded = batch.load()
            if before is not None:
                yield before.end()
            before = batch if is_loaded else None
            if not is_loaded:
                yield batch.end()
        if before is not None:
            before.send()
            yield before.end()
    finally:
        if before is not None:
            before.abandon()


class _Batch:
    """A batch in progress. Take its token, load it, send it, end it; steps of others may come in between."""

    def __init__(self, spec: JobSpec, keys: Batch, interrupts: Interrupts, raised: Interrupts) -> None:
        self._spec = spec
        self._keys = keys
        self._interrupts = interrupts
        self._raised = raised
        self._token: Token | None = None
        self._loaded: Loaded | None = None
        self._writing: UnderWay | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._errors: dict[str, str] = {}
        self._queries = QueryCount()
        self._seconds = dict.fromkeys(SECONDS, 0.0)  # those of no other part under "seconds"

    def take_token(self, keep_seconds: float | None) -> None:
        """Skip fresh keys, and take the token for the others, if any."""
        with self._step():
            if is_pending(self._spec):  # values loaded here must not be cached
                self._settle(Outcome.SUPERSEDED, self._keys)
            elif keep_seconds is not None:
                with self._timed("seconds"):
                    fresh = self._spec.store.fresh(list(self._keys), seconds=keep_seconds)
                self._settle(Outcome.SKIPPED, fresh)
            if left := self._left():
                self._token = self._next_token(left)

    def load(self) -> bool:
        """Call the loader, if there is a token; return whether there is something to write."""
        with self._step():
            if self._token is not None:
                self._loaded = self._load(self._left())
        return self._loaded is not None

    def send(self) -> None:
        """Send the loaded values to the cache without waiting."""
        loaded, self._loaded = self._loaded, None
        if self._token is not None and loaded is not None:
            with self._step(), self._timed("write_seconds"):
                self._writing = self._spec.store.begin_write(self._token, loaded.values, loaded.absent)

    def end(self) -> Report:
        """Wait for the cache's answer, load overtaken keys again, and report the batch."""
        with self._step():
            if self._writing is not None:
                with self._timed("write_seconds"):
                    written = self._writing.end()
                self._fill(self._take(written), attempt=2)
        if self._errors:
            key, error = next(iter(self._errors.items()))
            counts = (len(self._errors), counted(len(self._outcomes), "key"))
            logger.error("%s: %d of %s failed; %s: %s", self._spec.name, *counts, key, error)
        seconds = self._seconds | {"seconds": sum(self._seconds.values())}
        cost = {"batches": 1, "queries": self._queries.queries}
        return Report.of(self._spec.name, self._outcomes, self._errors, **seconds, **cost)

    def abandon(self) -> None:
        """Stop waiting for the cache's answer."""
        if self._writing is not None:
            self._writing.abandon()

    def _left(self) -> Batch:
        """Return the keys without an outcome."""
        if not self._outcomes:
            return self._keys
        return {key: id for key, id in self._keys.items() if key not in self._outcomes}

    def _settle(self, outcome: Outcome, keys: Collection[str], why: str = "") -> None:
        self._outcomes |= dict.fromkeys(keys, outcome)
        if why:
            self._errors |= dict.fromkeys(keys, why)

    def _next_token(self, keys: Batch) -> Token:
        """Wait for the pace of the job and of the project, and take a token for keys."""
        spec = self._spec
        paces = ((spec.name, spec.max_batches_per_second), (EVERY_JOB, conf.MAX_BATCHES_PER_SECOND))
        for name, per_second in paces:
            if per_second:
                self._pause(spec.store.turn(per_second=per_second, name=name))
        token = spec.store.token(keys)
        reach("token_taken", spec.name)
        return token

    def _load(self, keys: Batch) -> Loaded | None:
        """Call the loader; None: the keys have outcomes already, because it failed or changed rows."""
        try:
            with self._timed("load_seconds"):
                loaded = load(self._spec, keys)
        except self._interrupts:
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
            halves = halved(keys, error)
            if not halves:
                self._settle(Outcome.FAILED, keys, describe(error))
            for half in halves:
                self._fill(half)
            return None
        reach("loaded", self._spec.name)
        if is_pending(self._spec):  # the loader wrote rows that it read
            self._settle(Outcome.SUPERSEDED, keys)
            return None
        return loaded

    def _fill(self, keys: Batch, *, attempt: int = 1) -> None:
        """Load and write keys, repeatedly if invalidations overtake them, up to `ATTEMPTS` times."""
        while keys and attempt <= ATTEMPTS:
            if attempt > 1:
                self._pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 2))
            token = self._next_token(keys)
            loaded = self._load(keys)
            if loaded is None:
                return
            with self._timed("write_seconds"):
                written = self._spec.store.write(token, loaded.values, loaded.absent)
            keys = self._take(written)
            attempt += 1
        self._settle(Outcome.SUPERSEDED, keys)

    def _take(self, written: Written) -> Batch:
        """Count the outcomes of a write; return the keys that an invalidation overtook."""
        reach("written", self._spec.name)
        self._seconds["write_seconds"] -= written.encode_seconds  # spent while it was sent
        self._seconds["encode_seconds"] += written.encode_seconds
        self._errors |= written.errors
        overtaken = [key for key, outcome in written.outcomes.items() if outcome is Outcome.SUPERSEDED]
        self._outcomes |= written.outcomes
        for key in overtaken:
            del self._outcomes[key]
        return {key: self._keys[key] for key in overtaken}

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)
            self._seconds["wait_seconds"] += seconds

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - began

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Count queries; on an error that ends the batch (cache down, interrupt), fail the remaining keys."""
        ends: Interrupts = (StoreUnavailable, *self._interrupts)
        try:
            with self._queries:
                yield
        except self._raised:
            raise
        except ends as error:
            why = describe(error)
            if isinstance(error, self._interrupts):
                why = f"A time limit interrupted the batch ({type(error).__name__}): {AFTER_INTERRUPT}"
            self._settle(Outcome.FAILED, self._left(), why)
            self._token = self._loaded = None  # no key is left to load or to write
            self.abandon()
