"""Single flight: of all readers who miss a key at once one loads it, and the others wait for that.

The round trip that gives a reader its token also gives it a claim on every key that nobody else is
loading. Those it loads and writes; for the others it waits, with short looks at all of them together:

- the key is cached, or its load found no value: that is the answer;
- its claim is gone, because its loader raised, an invalidation overtook it or its process was killed:
  the reader claims the key in turn. So failing loads follow each other and do not come as a herd;
- the bound `WARMER_READ_WAIT` is over: the reader loads the key, and stores nothing.

A reader runs the loader at most once for a key. It holds no claim of a job while it waits for another of
that job, so that no two wait for each other: a loader that reads keys of its own job does not wait.

That a load found no value is told only to those who waited for it: where absences are not cached, who
comes later asks the database again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic, sleep
from typing import Any, TypeVar

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable
from warmer.failpoints import reach
from warmer.filling import read_counters
from warmer.filling.loading import Loaded, load
from warmer.invalidation import is_pending
from warmer.keys import Id
from warmer.report import describe
from warmer.stores import Claim, Store

logger = logging.getLogger(__name__)

# Each pause is longer than the one before, so that waiting adds at most about half of what the load
# takes; 200 readers who wait long look about 2,700 times a second, a few hundredths of a server's time.
FIRST_PAUSE_SECONDS = 0.004
PAUSE_GROWTH = 1.5
LONGEST_PAUSE_SECONDS = 0.1

T = TypeVar("T")

# The jobs whose loaders run in this thread, each within the one before.
_loading: ContextVar[tuple[JobSpec, ...]] = ContextVar("_loading", default=())


def load_missing(spec: JobSpec, missing: Mapping[str, Id | None]) -> dict[str, Any]:
    """Return the values of keys that are not cached, by key; one loader call a batch at the most.

    Args:
        missing: each key, and the id that makes it (of a single job, None).

    Raises:
        Exception: whatever the loader raises, when it was this reader who ran it.
    """
    return _Reader(spec=spec, left=dict(missing)).read()


def load_past_the_cache(spec: JobSpec, wanted: Mapping[str, Id | None]) -> dict[str, Any]:
    """Load keys, batch by batch, and store nothing."""
    values: dict[str, Any] = {}
    for batch in _batches(wanted, spec.batch_size):
        values |= load(spec, {key: wanted[key] for key in batch}).values
    return values


@dataclass(kw_only=True)
class _Reader:
    """One reader's way to the values of the keys that it misses.

    Attributes:
        left: the keys without an answer yet, and their ids.
        awaited: those that others are loading, and the ids of their claims.
        values: the answers.
    """

    spec: JobSpec
    left: dict[str, Id | None]
    awaited: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    cache_is_down: bool = False

    def read(self) -> dict[str, Any]:
        self._load_what_is_free(list(self.left))
        self._wait()
        if self.left:
            self.values |= load_past_the_cache(self.spec, self.left)
        return self.values

    def _load_what_is_free(self, keys: Sequence[str]) -> None:
        """Load and store the keys that nobody else is loading; the others are then awaited."""
        for batch in _batches(keys, self.spec.batch_size):
            claim = self._claim(batch)
            if claim is None:
                return
            self._settle(claim.values, claim.absent)
            self.awaited |= claim.theirs
            if claim.mine:
                self._load(claim)

    def _claim(self, keys: Sequence[str]) -> Claim | None:
        return self._ask(lambda store: store.claim(keys, seconds=conf.READ_CLAIM.total_seconds()))

    def _load(self, claim: Claim) -> None:
        ended = False
        outer = _loading.set((*_loading.get(), self.spec))
        try:
            reach("token_taken", self.spec.name)
            loaded = load(self.spec, {key: self.left[key] for key in claim.mine})
            reach("loaded", self.spec.name)
            ended = self._write(claim, loaded)
        finally:
            _loading.reset(outer)
            if not ended:
                self._ask(lambda store: store.release(claim))
        self._settle(loaded.values, loaded.absent)

    def _write(self, claim: Claim, loaded: Loaded) -> bool:
        """Store what was loaded; say whether the cache took part."""
        if is_pending(self.spec):
            return False  # the loader itself wrote rows that it read, and they may be rolled back
        written = self._ask(lambda store: store.write(claim.token, loaded.values, loaded.absent, claim=claim))
        if written is None:
            return False
        reach("written", self.spec.name)
        read_counters.count_filled(self.spec, written.outcomes.values())
        for key, why in written.errors.items():
            logger.error("Could not store %s: %s", key, why)
        return True

    def _wait(self) -> None:
        """Wait for what others are loading, up to the bound."""
        if self.spec in _loading.get():
            return
        deadline = monotonic() + conf.READ_WAIT.total_seconds()
        pause = FIRST_PAUSE_SECONDS
        while self.awaited and not self.cache_is_down:
            rest = deadline - monotonic()
            if rest <= 0:
                logger.warning(
                    "%s: %d keys are still being loaded elsewhere after %s: loading them here too",
                    self.spec.name,
                    len(self.awaited),
                    conf.READ_WAIT,
                )
                return
            sleep(min(rest, random.uniform(pause / 2, pause)))
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
            self._look()

    def _look(self) -> None:
        """Take the answers that there are by now, and load what nobody loads any more."""
        cached = self._ask(lambda store: store.look(list(self.awaited), claims=True))
        if cached is None:
            return
        told = {key for key, record in cached.claims.items() if record.tells_absence_to(self.awaited[key])}
        self._settle(cached.values, cached.absent | told)
        free = [key for key in self.awaited if key not in cached.claims]
        for key in free:
            del self.awaited[key]
        self._load_what_is_free(free)

    def _settle(self, values: Mapping[str, Any], absent: Iterable[str]) -> None:
        self.values |= values
        for key in (*values, *absent):
            self.left.pop(key, None)
            self.awaited.pop(key, None)

    def _ask(self, question: Callable[[Store], T]) -> T | None:
        """Ask the cache; None when it does not answer, and it is not asked again."""
        if self.cache_is_down:
            return None
        try:
            return question(self.spec.store)
        except StoreUnavailable as error:
            self.cache_is_down = True
            logger.warning("Reading %s from the database: %s", self.spec.name, describe(error))
            return None


def _batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(keys)
    while batch := list(islice(rest, size)):
        yield batch
