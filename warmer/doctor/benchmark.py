"""Measure how fast a cache is: key by key, in batches, and under the fence of a job."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles
from time import perf_counter
from typing import Any

from django.core.cache import caches

from warmer.doctor.checks.connection import probe
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import open_store

BATCH = 100
# A load that a site can bear: 64 MiB in a cache, and some seconds of its server.
MAX_KEYS, MAX_VALUE_BYTES, MAX_BYTES = 100_000, 1024**2, 64 * 1024**2
# Longer than a benchmark takes; if the process is killed, its keys expire.
KEY_SECONDS = 600
PINGS = 200


def benchmark(alias: str, *, count: int, size: int) -> list[dict[str, Any]]:
    """Return a row for a ping and for each operation on a cache, and delete the test keys.

    Times are microseconds per call. `missing` counts the keys that were rejected, or gone when read.

    Args:
        alias: the name of the cache in `CACHES`.
        count: the number of keys.
        size: the bytes of each value.

    Raises:
        StoreUnavailable: the cache does not answer or keeps nothing.
    """
    name = f"warmer-benchmark-{secrets.token_hex(4)}"
    template = KeyTemplate.parse(f"{name}:{{id}}", keyed=True)
    cache = caches[alias]
    store = open_store(alias=alias, template=template, timeout=float(KEY_SECONDS))
    keys = [template.key(id) for id in range(count)]
    batches = [keys[start : start + BATCH] for start in range(0, count, BATCH)]
    value = secrets.token_hex(size // 2 + 1)[:size]  # random, so that no compressor shrinks it

    def matches(found: Mapping[str, Any]) -> int:
        return sum(each == value for each in found.values())

    def set_many(batch: Sequence[str]) -> int:
        return len(batch) - len(cache.set_many(dict.fromkeys(batch, value), KEY_SECONDS) or ())

    def write(batch: Sequence[str]) -> int:
        written = store.write(store.token(batch), dict.fromkeys(batch, value))
        return sum(outcome is Outcome.WRITTEN for outcome in written.outcomes.values())

    # The arguments of each operation, and its call, which returns how many keys it wrote or found, if known.
    operations: dict[str, tuple[Sequence[Any], Callable[[Any], int | None]]] = {
        "cache.set": (keys, lambda key: cache.set(key, value, KEY_SECONDS)),
        "cache.get": (keys, lambda key: int(cache.get(key) == value)),
        "cache.set_many": (batches, set_many),
        "cache.get_many": (batches, lambda batch: matches(cache.get_many(batch))),
        "job: write a batch": (batches, write),
        "job: read a key": (keys, lambda key: matches(store.lookup([key]).values)),
        "job: read a batch": (batches, lambda batch: matches(store.lookup(batch).values)),
    }
    probe(alias)
    pings, rows = list[float](), list[dict[str, Any]]()
    try:
        for operation, (items, call) in operations.items():
            took, answers = _timed(call, items)
            missing = 0 if None in answers else count - sum(answers)
            rows.append(row(operation, took, keys=count, missing=missing))
            # After each: a machine is not equally fast all the time. And some backends hide that the cache is
            # gone, but this does not.
            pings += _timed(lambda _: store.ping(), range(PINGS))[0]
    finally:
        for start in range(0, count, 1_000):
            store.invalidate(keys[start : start + 1_000])
        store.forget(keys)
    ping = row("ping", pings)
    return [{**each, "ratio": round(each["p50_us"] / ping["p50_us"], 2)} for each in (ping, *rows)]


def row(operation: str, seconds: Sequence[float], *, keys: int = 0, missing: int = 0) -> dict[str, Any]:
    """Return an operation's row, from the time of each call."""
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [*seconds] * 99
    return {
        "operation": operation,
        "calls": len(seconds),
        "keys": keys or None,
        "missing": missing or None,
        "per_second": round((keys or len(seconds)) / sum(seconds)),
        **{f"p{percent}_us": round(1e6 * cuts[percent - 1]) for percent in (50, 95, 99)},
    }


def _timed(call: Callable[[Any], Any], items: Sequence[Any]) -> tuple[list[float], list[Any]]:
    took, answers = [], []
    for item in items:
        started = perf_counter()
        answers.append(call(item))
        took.append(perf_counter() - started)
    return took, answers
