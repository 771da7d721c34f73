"""How fast a cache is written and read: key by key, in batches, and under the fence of a job.

On keys of its own, which are removed at the end, whatever that is; a process that is killed leaves them to
their timeout.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from django.core.cache import caches

from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import Store, is_fenced, open_store

PREFIX = "warmer-benchmark"
BATCH = 100
# What a site can bear beside its work: 64 MiB in a cache, and some seconds of its server.
MOST_KEYS = 100_000
MOST_BYTES = 1024 * 1024
MOST_IN_ALL = 64 * 1024 * 1024
# Longer than any of these takes.
KEY_SECONDS = 600
# After each way.
PINGS = 200

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way to use the cache, measured.

    Attributes:
        way: what was done.
        keys: how many keys were written or read; of a PING, none.
        seconds: of each call, sorted.
        missing: how many keys were not there when they were read, or not taken.
    """

    way: str
    keys: int
    seconds: Sequence[float]
    missing: int = 0

    @property
    def per_second(self) -> float:
        """How many keys, or PINGs, were done in a second."""
        return (self.keys or len(self.seconds)) / sum(self.seconds)

    def percentile(self, percent: int) -> float:
        """Return the seconds within which so many of a hundred calls ended."""
        return self.seconds[max(0, math.ceil(len(self.seconds) * percent / 100) - 1)]


def refusal(count: int, size: int) -> str:
    """Return why so many keys of so many bytes are too much; empty when they are not."""
    if count > MOST_KEYS:
        return f"{count:,} keys: at most {MOST_KEYS:,} are written."
    if size > MOST_BYTES:
        return f"{size:,} bytes: a value has at most {MOST_BYTES:,}."
    if count * size > MOST_IN_ALL:
        total = f"{count:,} keys of {size:,} bytes are {count * size:,} bytes"
        return f"{total}: at most {MOST_IN_ALL:,} are written."
    return ""


class Benchmark:
    """A measurement of one cache: `with Benchmark(...) as benchmark: rows = benchmark.measure()`.

    Args:
        alias: the cache's name in `CACHES`.
        count: how many keys.
        size: how many bytes a value has.
        progress: called now and then with how many calls are done, of how many, and of what.

    Attributes:
        is_clean: whether its keys were removed.

    Raises:
        StoreUnavailable: the cache does not answer, or keeps nothing, or did not let the keys be removed.
    """

    def __init__(self, alias: str, *, count: int, size: int, progress: Progress | None = None) -> None:
        name = f"{PREFIX}-{secrets.token_hex(4)}"
        self._store: Store = open_store(
            alias=alias,
            fence=name,
            template=KeyTemplate.parse(f"{name}:{{id}}", keyed=True),
            timeout=float(KEY_SECONDS),
        )
        self._alias = alias
        self._keys = [self._store.template.key(id) for id in range(count)]
        # Random, so that no compressor makes it smaller.
        self._value = secrets.token_hex(size // 2 + 1)[:size]
        self._progress = progress
        self._pings: list[float] = []
        self.is_clean = False

    def __enter__(self) -> Self:
        self._store.ping()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for keys in _batches(self._keys, 1_000):
                self._store.invalidate(keys)
            self._store.forget()
            self.is_clean = True
        except StoreUnavailable as trouble:
            raise StoreUnavailable(
                f"{trouble} The keys {self._store.template} could not be removed: they expire in "
                f"{KEY_SECONDS // 60} minutes."
            ) from error

    def measure(self) -> list[Measured]:
        """Measure each way; the first that is returned is the answer to a PING."""
        cache = caches[self._alias]
        keys, value, batches = self._keys, self._value, list(_batches(self._keys, BATCH))

        def set_many(batch: Sequence[str]) -> None:
            cache.set_many(dict.fromkeys(batch, value), KEY_SECONDS)

        ways = [
            self._time("cache.set", keys, lambda key: cache.set(key, value, KEY_SECONDS)),
            self._time("cache.get", keys, lambda key: int(cache.get(key) == value)),
        ]
        if ways[-1].missing == len(keys):
            raise StoreUnavailable(
                f"The cache {self._alias!r} keeps nothing: of {len(keys):,} keys none is there."
            )
        ways += [
            self._time("cache.set_many", batches, set_many),
            self._time("cache.get_many", batches, lambda batch: self._right(cache.get_many(batch))),
            self._time("job, a batch written", batches, self._write),
            self._time("job, a key read", keys, lambda key: self._right(self._store.read([key]))),
            self._time("job, a batch read", batches, lambda batch: self._right(self._store.read(batch))),
        ]
        ping = "PING" if is_fenced(self._alias) else "a get of nothing"
        return [Measured(way=ping, keys=0, seconds=sorted(self._pings)), *ways]

    def _right(self, found: Any) -> int:
        return sum(value == self._value for value in found.values())

    def _write(self, batch: Sequence[str]) -> int:
        """Write as a run does: take a token (then a run loads), and write under the fence."""
        token = self._store.token()
        written = self._store.write(token, dict.fromkeys(batch, self._value))
        for why in written.errors.values():
            raise StoreUnavailable(f"The cache {self._alias!r} did not take a key: {why}.")
        # A fence that was evicted refuses the batch.
        return sum(outcome is Outcome.WRITTEN for outcome in written.outcomes.values())

    def _time(self, way: str, items: Sequence[Any], call: Callable[[Any], int | None]) -> Measured:
        """Time a call with each item; where it tells, it returns how many keys it found or wrote."""
        took: list[float] = []
        found: int | None = None
        for item in items:
            started = perf_counter()
            answer = call(item)
            took.append(perf_counter() - started)
            if answer is not None:
                found = (found or 0) + answer
            if self._progress is not None and len(took) % 50 == 0:
                self._progress(len(took), len(items), way)
        # Between the ways: a machine is not as fast at one time as at another. And some backends hide that
        # the cache has gone, but this does not.
        for _ in range(PINGS):
            started = perf_counter()
            self._store.ping()
            self._pings.append(perf_counter() - started)
        keys = len(self._keys)
        missing = 0 if found is None else keys - found
        return Measured(way=way, keys=keys, seconds=sorted(took), missing=missing)


def _batches(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), size):
        yield keys[at : at + size]
