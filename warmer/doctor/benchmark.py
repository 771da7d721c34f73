"""How fast a cache is written and read: key by key, in batches, and under the fence of a job."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from statistics import quantiles
from time import perf_counter
from typing import Any

from django.core.cache import caches

from warmer.doctor.checks.connection import probe
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import open_store

BATCH = 100
# A site can bear as much beside its work: 64 MiB in a cache, and some seconds of its server.
MAX_KEYS, MAX_VALUE_BYTES, MAX_BYTES = 100_000, 1024**2, 64 * 1024**2
# Longer than a benchmark takes: a process that is killed leaves its keys to their timeout.
KEY_SECONDS = 600
PINGS = 200


class Benchmark:
    """A benchmark of one cache: `measure()` it, then `clean()` up, whatever happened.

    Args:
        alias: the name of the cache in `CACHES`.
        count: the number of keys.
        size: the bytes of each value.
        progress: called now and then with the number of calls done, their total, and the operation.

    Raises:
        StoreUnavailable: by every method, if the cache does not answer or keeps nothing.
    """

    def __init__(
        self, alias: str, *, count: int, size: int, progress: Callable[[int, int, str], None]
    ) -> None:
        name = f"warmer-benchmark-{secrets.token_hex(4)}"
        template = KeyTemplate.parse(f"{name}:{{id}}", keyed=True)
        self._alias = alias
        self._store = open_store(alias=alias, fence=name, template=template, timeout=float(KEY_SECONDS))
        self._keys = [template.key(id) for id in range(count)]
        # Random, so that no compressor makes it smaller.
        self._value = secrets.token_hex(size // 2 + 1)[:size]
        self._progress = progress
        self._pings: list[float] = []

    def measure(self) -> list[dict[str, Any]]:
        """Return a row for a ping and for each operation; times are of a call, in microseconds."""
        probe(self._alias)
        found = [self._time(*each) for each in self._operations()]
        ping = row("ping", self._pings)
        return [{**each, "ratio": round(each["p50_us"] / ping["p50_us"], 2)} for each in (ping, *found)]

    def clean(self) -> None:
        """Delete the keys and the fence."""
        for start in range(0, len(self._keys), 1_000):
            self._store.invalidate(self._keys[start : start + 1_000])
        self._store.forget(self._keys)

    def _operations(self) -> list[tuple[str, Sequence[Any], Callable[[Any], int | None]]]:
        """Return each operation's name, what it is called with, and the call.

        A call returns the number of keys that it wrote or found, or None if the cache does not say.
        """
        cache, store, value, keys = caches[self._alias], self._store, self._value, self._keys
        batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]

        def matches(found: dict[str, Any]) -> int:
            return sum(each == value for each in found.values())

        def set_many(batch: Sequence[str]) -> int:
            refused = cache.set_many(dict.fromkeys(batch, value), KEY_SECONDS)
            return len(batch) - len(refused or ())

        def write(batch: Sequence[str]) -> int:
            written = store.write(store.token(batch), dict.fromkeys(batch, value))
            return sum(outcome is Outcome.WRITTEN for outcome in written.outcomes.values())

        return [
            ("cache.set", keys, lambda key: cache.set(key, value, KEY_SECONDS)),
            ("cache.get", keys, lambda key: int(cache.get(key) == value)),
            ("cache.set_many", batches, set_many),
            ("cache.get_many", batches, lambda batch: matches(cache.get_many(batch))),
            ("job: write a batch", batches, write),
            ("job: read a key", keys, lambda key: matches(store.read([key]))),
            ("job: read a batch", batches, lambda batch: matches(store.read(batch))),
        ]

    def _time(
        self, operation: str, items: Sequence[Any], call: Callable[[Any], int | None]
    ) -> dict[str, Any]:
        took, found, answer = list[float](), 0, None
        for item in items:
            started = perf_counter()
            answer = call(item)
            took.append(perf_counter() - started)
            found += answer or 0
            if len(took) % 50 == 0:
                self._progress(len(took), len(items), operation)
        # After each operation: a machine is not equally fast all the time. And some backends hide that the
        # cache is gone, but this does not.
        for _ in range(PINGS):
            started = perf_counter()
            self._store.ping()
            self._pings.append(perf_counter() - started)
        missing = 0 if answer is None else len(self._keys) - found
        return row(operation, took, keys=len(self._keys), missing=missing)


def row(operation: str, seconds: Sequence[float], *, keys: int = 0, missing: int = 0) -> dict[str, Any]:
    """Return an operation's row.

    Args:
        seconds: the time of each call.
        keys: how many keys it wrote or read.
        missing: how many of them were refused, or gone when they were read.
    """
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [*seconds] * 99
    return {
        "operation": operation,
        "calls": len(seconds),
        "keys": keys or None,
        "missing": missing or None,
        "per_second": round((keys or len(seconds)) / sum(seconds)),
        **{f"p{percent}_us": round(1e6 * cuts[percent - 1]) for percent in (50, 95, 99)},
    }
