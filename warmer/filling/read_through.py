"""Read-through with single flight: return cached values, or load them once and store them under the fence.

On a miss, exactly one of the readers of a key loads it. The round trip that gives a reader its token also
gives it a claim on every key that nobody else is loading. It loads and writes these keys, then waits for the
others by polling the cache for all of them together:

- if a key is cached, or its load found no value, that is the answer; later readers of a key without a value
  load it again;
- if its claim is gone, because its loader raised, an invalidation overtook it or its process was killed, the
  reader claims the key in turn, so failing loads run one after the other;
- if the job is hot (changes overtook two loads that a reader waited for, or the cache did not store a value),
  no reader in this process waits until a load is stored, or none of this happened for `WARMER_READ_WAIT`;
- after `WARMER_READ_WAIT`, the readers of a process share a load of the key and store nothing.

A reader runs the loader at most once for a key. While it waits for a claim or for a database connection, it
holds no claim of the job, so no two readers wait for each other. A loader does not wait for its own job.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, sleep
from typing import Any, ParamSpec, TypeVar

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, log_level
from warmer.failpoints import reach
from warmer.filling import loading, read_counters
from warmer.filling.shared_loads import load_at_once, load_without_cache
from warmer.humanize import counted
from warmer.invalidation import is_pending
from warmer.keys import Batch, Id, as_id
from warmer.report import Outcome, describe
from warmer.stores import Cached, Claim, Peeked, Token

logger = logging.getLogger(__name__)

# Each pause is longer than the last, so that waiting adds at most about half of the load's duration. 200
# long-waiting readers poll about 2,700 times a second, a few percent of a server's time.
FIRST_PAUSE_SECONDS = 0.004
PAUSE_GROWTH = 1.5
LONGEST_PAUSE_SECONDS = 0.1
MOST_OVERTAKEN = 2
LOG_SECONDS = 10.0  # while a job's reads have a problem, it is logged once in this time

P = ParamSpec("P")
T = TypeVar("T")

# Until when a job is hot: it changes faster than it can be loaded, or its values are not stored.
_hot: dict[JobSpec, float] = {}
# When a problem may be logged again, by the job, the level and the text.
_logs_again: dict[tuple[JobSpec, int, str], float] = {}
_UNKNOWN = object()  # what the cache has if it was not asked, or did not answer


def get(spec: JobSpec, id: Id | None, default: Any = None) -> Any:
    """Return the value of one key, or `default` if it has none; see `KeyedJob.get`."""
    key = spec.key.key(id)
    wanted = {key: as_id(id)}
    value: Any = _UNKNOWN
    try:
        if not _is_bypassed(spec):
            value = spec.store.peek(key)
    except StoreUnavailable as error:
        _log_unavailable(spec, error)
    if value is _UNKNOWN:
        return load_without_cache(spec, wanted).get(key, default)
    if value is Peeked.NOTHING:
        read_counters.count_read(spec, wanted, wanted)
        return _Reader(spec=spec, left=wanted).read().get(key, default)
    read_counters.count_read(spec, wanted)
    return default if value is Peeked.NO_VALUE else value


def get_many(spec: JobSpec, ids: Iterable[Any]) -> dict[Any, Any]:
    """Return the values of many ids; see `KeyedJob.get_many`."""
    keys = {id: spec.key.key(id) for id in ids}
    wanted: Batch = {key: as_id(id) for id, key in keys.items()}
    if not wanted:
        return {}
    cached: Cached | None = None
    try:
        if not _is_bypassed(spec):
            cached = spec.store.lookup(list(wanted))
    except StoreUnavailable as error:
        _log_unavailable(spec, error)
    if cached is None:
        found = load_without_cache(spec, wanted)
    else:
        known = {*cached.values, *cached.absent}
        missing = {key: id for key, id in wanted.items() if key not in known}
        read_counters.count_read(spec, wanted, missing)
        found = {**cached.values, **(_Reader(spec=spec, left=missing).read() if missing else {})}
    return {id: found[key] for id, key in keys.items() if key in found}


def _is_bypassed(spec: JobSpec) -> bool:
    """Return whether the cache would refuse a read now, or may lack what this transaction changed."""
    breaker = spec.store.breaker  # whose error would take longer
    return (breaker.is_open and breaker.refuses()) or is_pending(spec, on_miss=False)


def _log_unavailable(spec: JobSpec, error: StoreUnavailable) -> None:
    _log(spec, log_level(error, logging.WARNING), "Reading %s from the database: %s", describe(error))


def _log(spec: JobSpec, level: int, text: str, *args: object) -> None:
    """Log a problem of a job, at most once in `LOG_SECONDS`: if the cache is full, each miss has it."""
    now = monotonic()
    if now >= _logs_again.get((spec, level, text), 0.0):
        _logs_again[spec, level, text] = now + LOG_SECONDS
        logger.log(level, text, spec.name, *args)


@dataclass(kw_only=True)
class _Reader:
    """One reader's search for the values of its missing keys."""

    spec: JobSpec
    left: Batch  # the keys without an answer yet
    values: dict[str, Any] = field(default_factory=dict)
    awaited: dict[str, str] = field(default_factory=dict)  # others load these: the ids of the claims
    # The state of the fence under which each awaited key is loaded, and how often another state followed.
    claimed_under: dict[str, Token] = field(default_factory=dict)
    overtaken: Counter[str] = field(default_factory=Counter)
    cache_is_down: bool = False

    def read(self) -> dict[str, Any]:
        """Return the values; at most one loader call per batch."""
        if is_pending(self.spec):  # uncommitted values, and those read in a snapshot, must not be cached
            return loading.load_past_the_cache(self.spec, self.left)
        began = monotonic()
        self._load_what_is_free(list(self.left))
        if not loading.is_loading(self.spec):
            self._wait()
        if self.left:
            own = partial(loading.load_past_the_cache, self.spec, self.left)
            self.values |= load_at_once(("left", self.spec, *self.left), own, since=began)
        return self.values

    def _load_what_is_free(self, keys: Sequence[str]) -> None:
        """Load and store the keys that nobody else is loading; the others are then awaited."""
        for batch in loading.in_batches(keys, self.spec.batch_size):
            loading.take_pooled_connections(self.spec)
            claim = self._ask(self.spec.store.claim, batch, seconds=conf.READ_CLAIM.total_seconds())
            if claim is None:
                return
            self._settle(claim.values, claim.absent)
            self.awaited |= claim.theirs
            if claim.mine:
                self._load(claim)

    def _load(self, claim: Claim) -> None:
        ended = False
        try:
            reach("token_taken", self.spec.name)
            loaded = loading.load(self.spec, {key: self.left[key] for key in claim.mine})
            reach("loaded", self.spec.name)
            ended = self._write(claim, loaded)
        finally:
            if not ended:
                self._ask(self.spec.store.write, claim.token, {}, claim=claim)  # which ends the claim
        self._settle(loaded.values, loaded.absent)

    def _write(self, claim: Claim, loaded: loading.Loaded) -> bool:
        """Store what was loaded; return whether the cache answered."""
        if is_pending(self.spec):
            return False  # the loader wrote rows that it read, which may be rolled back
        written = self._ask(self.spec.store.write, claim.token, loaded.values, loaded.absent, claim)
        if written is None:
            return False
        reach("written", self.spec.name)
        outcomes = Counter[str](written.outcomes.values())
        read_counters.count(self.spec, outcomes)
        if Outcome.FAILED in outcomes or (Outcome.SUPERSEDED in outcomes and self._is_hot()):
            self._mark_hot()  # otherwise waiting readers would load one after another
        elif Outcome.SUPERSEDED not in outcomes:
            _hot.pop(self.spec, None)
        if written.errors:
            key, why = next(iter(written.errors.items()))
            failed = counted(len(written.errors), "key")
            _log(self.spec, logging.ERROR, "%s: could not store %s, e.g. %s: %s", failed, key, why)
        return True

    def _wait(self) -> None:
        deadline = monotonic() + conf.READ_WAIT.total_seconds()
        pause = FIRST_PAUSE_SECONDS
        while self.awaited and not self.cache_is_down and not self._is_hot():
            rest = deadline - monotonic()
            if rest <= 0:
                logger.warning(
                    "%s: %d keys are still being loaded elsewhere after %s: loading them here too",
                    *(self.spec.name, len(self.awaited), conf.READ_WAIT),
                )
                return
            sleep(min(rest, random.uniform(pause / 2, pause)))
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
            self._look()

    def _look(self) -> None:
        """Take the available answers, and load keys that nobody is loading any more."""
        cached = self._ask(self.spec.store.lookup, list(self.awaited), claims=True)
        if cached is None:
            return
        for key, record in cached.claims.items():
            self._note(key, record.token)
        told = {key for key, record in cached.claims.items() if record.tells_absence_to(self.awaited[key])}
        self._settle(cached.values, cached.absent | told)
        free = [key for key in self.awaited if key not in cached.claims]
        for key in free:
            del self.awaited[key]
        self._load_what_is_free(free)

    def _note(self, key: str, token: Token) -> None:
        """Record under which state of the fence a key is loaded; another one may mean an overtaken load."""
        before = self.claimed_under.get(key, token)
        self.claimed_under[key] = token
        if before == token or not self._ask(self.spec.store.overtaken, before, [key]):
            return  # otherwise than by an invalidation, if its loader raised
        self.overtaken[key] += 1
        if self.overtaken[key] >= MOST_OVERTAKEN:
            self._mark_hot()

    def _is_hot(self) -> bool:
        return monotonic() < _hot.get(self.spec, 0.0)

    def _mark_hot(self) -> None:
        _hot[self.spec] = monotonic() + conf.READ_WAIT.total_seconds()

    def _settle(self, values: Mapping[str, Any], absent: Iterable[str]) -> None:
        self.values |= values
        for key in (*values, *absent):
            self.left.pop(key, None)
            self.awaited.pop(key, None)

    def _ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call the cache; return None if it does not answer, and do not call it again."""
        if not self.cache_is_down:
            try:
                return call(*args, **kwargs)
            except StoreUnavailable as error:
                self.cache_is_down = True
                _log_unavailable(self.spec, error)
        return None
