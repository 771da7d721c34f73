"""The gate that a slow job's loader stands at, kept in the cache which test and worker share.

Tests import this module and never `warming.py`: a test process has no slow jobs.
Each test begins with an empty cache: with an open gate, and with no loads counted.
"""

import os
from collections.abc import Sequence

from django.core.cache import cache

from embedded.waiting import wait_until

IDS = range(1, 13)
BATCHES = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12))
# What the job of one key, whose loader gets no id, is called at the gate.
ONE = 0
# The longest name of a job, with no place in it to break a line.
LONG_NAME = "along" * 20

# Longer than a test waits for anything, so that a test fails by its own words.
LONGEST_HOLD_SECONDS = 90


def hold(*ids: int) -> None:
    cache.set("gate:held", list(ids), None)


def release() -> None:
    cache.delete_many(["gate:held", "gate:broken"])


def break_loaders() -> None:
    """Let every loader fail, until the next `release`."""
    cache.set("gate:broken", True, None)


def loads(id: int) -> int:
    """Return how often a loader was asked for an id, whether or not it has passed."""
    return cache.get(f"gate:{id}:loads", 0)


def await_loads(*ids: int, count: int = 1) -> None:
    """Wait until loaders were asked for each of these ids so many times."""
    wait_until(lambda: all(loads(id) >= count for id in ids), what=f"a worker loads {ids}, {count} times in all")


def holder(id: int) -> int:
    """Return the process, as the worker numbers it, of the last loader asked for an id."""
    return cache.get(f"gate:{id}:pid")


def stand_at(ids: Sequence[int]) -> None:
    """Count a load of these ids, and wait while one of them is held."""
    for id in ids:
        cache.set(f"gate:{id}:pid", os.getpid(), None)
        cache.add(f"gate:{id}:loads", 0, None)
        cache.incr(f"gate:{id}:loads")
    if cache.get("gate:broken"):
        raise ValueError("broken by the test")
    wait_until(
        lambda: not set(ids) & set(cache.get("gate:held", ())),
        seconds=LONGEST_HOLD_SECONDS,
        what=f"the test releases {ids}",
    )
