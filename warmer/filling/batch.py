"""The work on one batch, step by step: each step is asked of the cache or the database once."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.failpoints import reach
from warmer.filling.loading import Loaded, QueryCount, counted_by, halved, load
from warmer.invalidation import is_pending, reads_a_snapshot
from warmer.keys import Batch
from warmer.report import Outcome, Report, describe
from warmer.stores import Token, UnderWay, Written

logger = logging.getLogger(__name__)

# Between the loads of a batch that invalidations overtake: doubled each time, so 0.14 s in all.
FIRST_PAUSE_SECONDS = 0.02
# How often a batch is loaded when invalidations overtake it; then its keys stay cold.
ATTEMPTS = 4

# What takes turns when the pace is the project's.
EVERY_JOB = "*"

Interrupts = tuple[type[Exception], ...]


@dataclass(kw_only=True)
class Work:
    """The work on one batch, step by step: look, find_fresh, begin, load, send, end.

    Attributes:
        keys: the whole batch.
        left: what has no outcome yet.
        outcomes: how the other keys ended.
    """

    spec: JobSpec
    keys: Batch
    keep_seconds: float | None
    interrupts: Interrupts = ()
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    queries: QueryCount = field(default_factory=QueryCount)
    left: Batch = field(init=False)
    load_seconds: float = 0.0
    encode_seconds: float = 0.0
    write_seconds: float = 0.0
    wait_seconds: float = 0.0
    look_seconds: float = 0.0
    _looked: bool = False
    _looking: UnderWay[Collection[str]] | None = None
    _token: Token | None = None
    _loaded: Loaded | None = None
    _writing: UnderWay[Written] | None = None

    def __post_init__(self) -> None:
        self.left = self.keys

    def look(self, *, behind: Work | None = None) -> None:
        """Ask the cache once which keys are fresh, if those are left alone, and do not wait.

        Args:
            behind: a batch whose look is under way and is awaited first: both need one connection.
        """
        if self.keep_seconds is None or self._looked or self._is_blind():
            return
        self._looked = True
        began = time.perf_counter()
        with self._failing_what_is_left():
            self._looking = self.spec.store.begin_fresh(
                list(self.left), seconds=self.keep_seconds, behind=behind._looking if behind else None
            )
        self.look_seconds += time.perf_counter() - began

    def find_fresh(self) -> None:
        """Wait for the cache's answer, and leave those keys alone."""
        if self._looking is None or not self.left:
            return
        began = time.perf_counter()
        with self._failing_what_is_left():
            self._settle(Outcome.SKIPPED, self._looking.end())
        self._looking = None  # only now: until it has ended, what fails has to abandon it
        self.look_seconds += time.perf_counter() - began

    def begin(self) -> None:
        """Wait for the turn, and take the token."""
        if not self.left:
            return
        if self._is_blind():
            self._settle(Outcome.SUPERSEDED, self.left)
            return
        with self._failing_what_is_left():
            self._wait_for_the_turn()
            self._take_token()

    def load(self) -> None:
        """Have the loader read the database."""
        if self.left:
            with self._failing_what_is_left(), counted_by(self.queries):
                self._load()

    def send(self) -> None:
        """Send what was loaded to the cache, and do not wait."""
        if self.left:
            with self._failing_what_is_left():
                self._send()

    def end(self) -> Report:
        """Wait for the cache's answers, load again what was overtaken, and report."""
        if self.left:
            with self._failing_what_is_left(), counted_by(self.queries):
                self._end()
        if self.errors:
            key, error = next(iter(self.errors.items()))
            logger.error(
                "%s: %d of %d keys failed; %s: %s",
                self.spec.name,
                len(self.errors),
                len(self.outcomes),
                key,
                error,
            )
        report = Report.of(self.spec.name, self.outcomes, errors=self.errors, queries=self.queries.queries)
        parts = (self.load_seconds, self.encode_seconds, self.write_seconds, self.wait_seconds)
        return replace(
            report,
            seconds=sum(parts) + self.look_seconds,
            load_seconds=self.load_seconds,
            encode_seconds=self.encode_seconds,
            write_seconds=self.write_seconds,
            wait_seconds=self.wait_seconds,
        )

    def abandon(self) -> None:
        """Leave off, and wait for nothing."""
        for under_way in (self._looking, self._writing):
            if under_way is not None:
                under_way.abandon()

    def _is_blind(self) -> bool:
        """Say whether what a load sees here may never be committed, or is no longer so."""
        return is_pending(self.spec) or reads_a_snapshot()

    def _wait_for_the_turn(self) -> None:
        store = self.spec.store
        paces = ((self.spec.name, self.spec.max_batches_per_second), (EVERY_JOB, conf.MAX_BATCHES_PER_SECOND))
        for name, per_second in paces:
            if per_second:
                self._pause(store.turn(per_second=per_second, name=name))

    def _take_token(self) -> None:
        self._token = self.spec.store.token()
        reach("token_taken", self.spec.name)

    def _load(self) -> None:
        began = time.perf_counter()
        try:
            self._loaded = load(self.spec, self.left)
        except self.interrupts:
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
            self.load_seconds += time.perf_counter() - began
            self._narrow(error)
            return
        self.load_seconds += time.perf_counter() - began
        reach("loaded", self.spec.name)
        if is_pending(self.spec):  # the loader itself wrote rows that it read
            self._settle(Outcome.SUPERSEDED, self.left)

    def _send(self) -> None:
        assert self._token is not None
        assert self._loaded is not None
        began = time.perf_counter()
        self._writing = self.spec.store.begin_write(self._token, self._loaded.values, self._loaded.absent)
        self._loaded = None  # encoded by now, and not needed twice in memory
        self.write_seconds += time.perf_counter() - began

    def _end(self) -> None:
        """Take the outcomes, again for keys that an invalidation overtook, a bounded number of times."""
        for attempt in range(1, ATTEMPTS + 1):
            self._take_outcomes()
            if not self.left or attempt == ATTEMPTS:
                break
            self._pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            self._wait_for_the_turn()
            self._take_token()
            self._load()
            if not self.left:
                break
            self._send()
        self._settle(Outcome.SUPERSEDED, self.left)

    def _take_outcomes(self) -> None:
        assert self._writing is not None
        began = time.perf_counter()
        written = self._writing.end()
        # The serializer's time was counted with the sending.
        self.write_seconds += time.perf_counter() - began - written.encode_seconds
        self.encode_seconds += written.encode_seconds
        reach("written", self.spec.name)
        self.errors |= written.errors
        superseded = [key for key, outcome in written.outcomes.items() if outcome is Outcome.SUPERSEDED]
        if not superseded:
            self.outcomes |= written.outcomes
            self.left = {}
            return
        again = {key: self.left[key] for key in superseded}
        self.outcomes |= {key: each for key, each in written.outcomes.items() if key not in again}
        self.left = again

    def _narrow(self, error: Exception) -> None:
        """Halve a batch whose loader raised, until what fails is one key; nothing is left of it then."""
        halves = halved(self.left, error)
        if not halves:
            self._fail(self.left, error)
            return
        for half in halves:
            self.left = half
            self._wait_for_the_turn()  # each is a load of the database like any other
            self._take_token()
            self._load()
            if self.left:
                self._send()
                self._end()

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)
            self.wait_seconds += seconds

    def _settle(self, outcome: Outcome, keys: Collection[str]) -> None:
        """Note how keys ended; they are not left."""
        self.outcomes |= dict.fromkeys(keys, outcome)
        if len(keys) == len(self.left):
            self.left = {}
        else:
            self.left = {key: id for key, id in self.left.items() if key not in self.outcomes}

    @contextmanager
    def _failing_what_is_left(self) -> Iterator[None]:
        """Count what ends the work on the batch: a cache that does not answer, or an interrupt."""
        ends: Interrupts = (StoreUnavailable, *self.interrupts)
        try:
            yield
        except ends as error:
            self.abandon()
            self._fail([key for key in self.keys if key not in self.outcomes], error)

    def _fail(self, keys: Iterable[str], error: Exception) -> None:
        why = describe(error)
        for key in keys:
            self.outcomes[key] = Outcome.FAILED
            self.errors[key] = why
        self.left = {}
