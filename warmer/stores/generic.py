"""Keys in any Django cache, through Django's cache API: a narrowed window instead of an atomic fence.

The fence is a random value in the cache, with its creation time, and every invalidation replaces it. A write
compares it before and after, and deletes what it wrote if the fence changed in between. So an old value may
be visible for a moment, and stays only if the writer dies in that moment.

A claim is made with `add`, which is atomic in locmem, memcached and the database, but not quite in files,
where two readers may load the same key. Any invalidation of the job voids all of its claims.
"""

import pickle
import random
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from django.core.cache import caches

from warmer.conf import conf
from warmer.context import own_write
from warmer.exceptions import StoreUnavailable
from warmer.keys import beside
from warmer.report import Outcome, describe
from warmer.stores.base import (
    NOBODY,
    NOTE_SECONDS,
    Cached,
    Claim,
    Keys,
    Record,
    Store,
    Token,
    Values,
    Written,
)

# A generation that no fence ever has.
REFUSED = "-"

_turn_lock = Lock()
_next_turns: dict[str, float] = {}


class GenericStore(Store):
    """A job's keys in a locmem, file, database, memcached or any other cache."""

    @property
    def _cache(self) -> Any:
        return caches[self.alias]  # a cache object belongs to one thread

    def ping(self) -> None:
        with self._answering():
            self._cache.get(self.fence_key)

    def token(self, keys: Keys) -> Token:
        with self._answering():
            # If two processes create it at once and the cache's `add` is not atomic, one of them is rejected.
            generation = self._cache.get_or_set(self.fence_key, _generation, timeout=None)
        return Token(generation=REFUSED if _is_too_young(generation) else generation)

    def lookup(self, keys: Sequence[str], *, claims: bool = False) -> Cached:
        asked = [*keys, *self._marks(keys), *(_claims(keys) if claims else ())]
        with self._answering():
            found: dict[str, Any] = self._cache.get_many(asked)
        texts = {key: str(found[name]) for name, key in _claims(keys).items() if name in found}
        values = {key: found[key] for key in keys if key in found}
        absent = {key for name, key in self._marks(keys).items() if name in found and key not in found}
        return Cached(
            values=values,
            absent=frozenset(absent),
            claims={key: record for key, text in texts.items() if (record := Record.parse(text))},
        )

    def claim(self, keys: Sequence[str], *, seconds: float) -> Claim:
        token, id = self.token(keys), secrets.token_hex(8)
        seconds = max(1.0, seconds)  # memcached counts in whole seconds, and 0 means forever
        with self._answering():
            for name in _claims(keys):
                if not self._cache.add(name, str(Record(holder=id, token=token)), timeout=seconds):
                    self._take_over(name, id, token, seconds)
        # Only now is it certain what was cached before the claim, and which of several readers made it.
        cached = self.lookup(keys, claims=True)
        holders = {key: record.holder for key, record in cached.claims.items()}
        left = [key for key in keys if key not in cached.values and key not in cached.absent]
        claim = Claim(
            id=id,
            token=token,
            mine=tuple(key for key in left if holders.get(key, id) in (id, NOBODY)),
            theirs={key: holders[key] for key in left if holders.get(key, id) not in (id, NOBODY)},
            values=cached.values,
            absent=cached.absent,
        )
        self._end(claim, [key for key in keys if key not in left and holders.get(key) == id], {})
        return claim

    def write(self, token: Token, values: Values, absent: Keys = (), claim: Claim | None = None) -> Written:
        written = self._write(token, values, absent)
        if claim is not None:
            self._end(claim, claim.mine, written.outcomes)
        return written

    def _write(self, token: Token, values: Values, absent: Keys) -> Written:
        everything = [*values, *absent]
        if not self._stands(token):
            return Written(outcomes=dict.fromkeys(everything, Outcome.SUPERSEDED))
        errors = self._set(values)
        with self._answering():
            self._cache.delete_many([*absent, *self._marks(values)])
            if absent and self.absent_timeout:
                self._cache.set_many(dict.fromkeys(self._marks(absent), 1), timeout=self.absent_timeout)
            stands = self._stands(token)
            if not stands:
                self._cache.delete_many([*everything, *self._marks(everything)])
        outcomes = {
            **dict.fromkeys(values, Outcome.WRITTEN if stands else Outcome.SUPERSEDED),
            **dict.fromkeys(absent, Outcome.NO_VALUE if stands else Outcome.SUPERSEDED),
            **dict.fromkeys(errors, Outcome.FAILED),
        }
        return Written(outcomes=outcomes, errors=errors)

    def invalidate(self, keys: Keys) -> None:
        with self._answering():
            self._cache.set(self.fence_key, _generation(), timeout=None)
            self._cache.delete_many([*keys, *self._marks(keys), *_claims(keys)])

    def sweep(self) -> None:
        """Leave the keys until their timeout: Django's cache API cannot find the keys of a job.

        A system check reports jobs that would need it.
        """

    def forget(self, keys: Keys | None = None) -> None:
        with self._answering():
            self._cache.delete(self.fence_key)

    def remaining(self, keys: Sequence[str]) -> dict[str, float | None]:
        return dict.fromkeys(self.lookup(keys).values)

    def turn(self, *, per_second: float, name: str) -> float:
        with _turn_lock:  # shared by the threads of this process only
            now = time.monotonic()
            at = max(_next_turns.get(name, now), now)
            _next_turns[name] = at + 1 / per_second
        return at - now

    def overtaken(self, token: Token, keys: Sequence[str]) -> set[str]:
        return set() if self._stands(token) else set(keys)

    def as_cached(self, value: Any) -> Any:
        """Return the value as Django's own backends return it, which pickle it."""
        return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own, of just now

    def _take_over(self, name: str, id: str, token: Token, seconds: float) -> None:
        """Take over a claim whose load has ended, or began before an invalidation."""
        old = Record.parse(str(self._cache.get(name)))
        stands = old is not None and old.token == token
        is_over = old is not None and old.holder == NOBODY
        if is_over or not stands:
            new = Record(holder=id, token=token, after_absence=is_over and stands)
            self._cache.set(name, str(new), timeout=seconds)

    def _end(self, claim: Claim, keys: Keys, outcomes: Mapping[str, Outcome]) -> None:
        """End a claim on keys; tell waiting readers which of them are absent."""
        if not keys:
            return
        names = _claims(keys)
        note = str(Record(holder=NOBODY, token=claim.token, after_absence=True))
        with self._answering():
            standing = self._cache.get_many(names)
            mine = {name for name, text in standing.items() if str(text).startswith(f"{claim.id} ")}
            told = {name for name in mine if outcomes.get(names[name]) is Outcome.NO_VALUE}
            self._cache.delete_many(mine - told)
            self._cache.set_many(dict.fromkeys(told, note), timeout=NOTE_SECONDS)

    def _marks(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the names of the keys' absence marks, if absences are cached, each with its key."""
        return {beside(key, "absent"): key for key in keys} if self.absent_timeout else {}

    def _lifetime(self) -> float:
        return self.timeout - random.uniform(0, self.jitter)

    def _stands(self, token: Token) -> bool:
        with self._answering():
            return bool(self._cache.get(self.fence_key) == token.generation)

    @own_write()
    def _set(self, values: Values) -> dict[str, str]:
        """Write the values; return the errors of those that were not written."""
        if not values:
            return {}
        try:
            refused = self._cache.set_many(values, timeout=self._lifetime())
            return dict.fromkeys(refused or (), "the cache refused it")
        except Exception:  # noqa: BLE001 - a backend's own
            # One value that cannot be encoded fails them all: find it.
            errors = {}
            for key, value in values.items():
                try:
                    self._cache.set(key, value, timeout=self._lifetime())
                except OSError as error:
                    raise self._unavailable(error) from error
                except Exception as error:  # noqa: BLE001 - a backend's own
                    errors[key] = f"the cache refused it: {describe(error)}"
            return errors

    @contextmanager
    def _answering(self) -> Iterator[None]:
        if self.breaker.is_open:
            self.breaker.admit()
        try:
            yield
        except Exception as error:  # each backend raises its own errors when it is down
            raise self._unavailable(error) from error
        else:
            if self.breaker.is_open:
                self.breaker.succeeded()

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        found = StoreUnavailable(
            f"The cache {self.alias!r} ({type(self._cache).__name__}) does not answer as expected: "
            f"{describe(error)}"
        )
        if isinstance(error, OSError):
            self.breaker.failed(error)
            found.is_logged = True
        return found


def _generation() -> str:
    """Return a fence's value: a random part and its creation time."""
    return f"{secrets.token_hex(8)}@{time.time():.6f}"


def _is_too_young(generation: str) -> bool:
    """Return whether loaders may still read rows from before the invalidation (`WARMER_REPLICA_LAG`)."""
    lag = conf.REPLICA_LAG.total_seconds()
    return lag > 0 and time.time() - float(generation.partition("@")[2] or time.time()) < lag


def _claims(keys: Iterable[str]) -> dict[str, str]:
    """Return the names of the keys' claims, each with its key."""
    return {beside(key, "claim"): key for key in keys}
