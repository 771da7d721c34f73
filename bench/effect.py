"""What counting costs a read: with it off, on, and on with a panel of keys to watch."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from django.conf import settings
from django.core.cache import cache

from bench.measure import Benchmark, Comparison, Contender
from bench.profiles import create_users, declare_job, expect_all, key_of
from warmer.api import KeyedJob
from warmer.filling import read_counters
from warmer.stores import Tallies

MANY = 100
ONE = "one profile"
SOME = f"{MANY} profiles at once"
PANEL = "panel"
PANEL_SECONDS = 3600


def benchmark(rows: int) -> Benchmark:
    """Return who reads what is cached: each profile once, in random order, or all of them, 100 at a time."""
    ids = create_users(rows)
    random.Random(7).shuffle(ids)
    job = declare_job()
    job.warm()
    pages = [ids[at : at + MANY] for at in range(0, len(ids), MANY)]
    hit: dict[str, Any] = {"verify": expect_all("default", ids)}
    one: dict[str, Any] = {"group": ONE, "operations": len(ids), **hit}
    some: dict[str, Any] = {"group": SOME, "operations": len(pages), **hit}
    off, on = partial(_set, job, counts=False), partial(_set, job, counts=True)
    # Half of what is read is watched: far more than in any job with more keys than a panel has.
    watched = partial(_set, job, counts=True, panel=[key_of(id) for id in ids[::2]])
    get, get_many = partial(_get, job, ids), partial(_get_many, job, pages)
    contenders = [
        Contender(name="off", title="warmer: job.get(id), not counted", run=get, prepare=off, **one),
        Contender(name="on", title="warmer: job.get(id), counted", run=get, prepare=on, **one),
        Contender(
            name="watched", title="warmer: job.get(id), half of them watched", run=get, prepare=watched, **one
        ),
        Contender(name="cache_get", title="cache.get(key)", run=partial(_cache_get, ids), **one),
        Contender(
            name="many_off", title="warmer: job.get_many(ids), not counted", run=get_many, prepare=off, **some
        ),
        Contender(
            name="many_on", title="warmer: job.get_many(ids), counted", run=get_many, prepare=on, **some
        ),
        Contender(
            name="many_watched",
            title="warmer: job.get_many(ids), half of them watched",
            run=get_many,
            prepare=watched,
            **some,
        ),
    ]
    comparisons = [
        Comparison(subject="on", against="off", kind="cost", target=1.05),
        Comparison(subject="watched", against="off", kind="cost", target=1.05),
        Comparison(subject="on", against="cache_get", kind="cost"),
        Comparison(subject="many_on", against="many_off", kind="cost", target=1.05),
        Comparison(subject="many_watched", against="many_off", kind="cost", target=1.05),
    ]
    return Benchmark(operation="call", shows="time", contenders=contenders, comparisons=comparisons)


def _set(job: KeyedJob[Any], *, counts: bool, panel: list[str] | None = None) -> None:
    """Have reads counted or not, and see that this process watches the panel."""
    settings.WARMER_COUNT_READS = True
    read_counters.follow_settings()
    tallies = job.spec.store.tallies
    assert isinstance(tallies, Tallies)
    tallies.end_panel(PANEL)
    if panel:
        tallies.draw_panel(PANEL, panel, panel, seconds=PANEL_SECONDS)
    job.get_many([1])
    read_counters.flush()
    watch = read_counters.watch_of(job.spec)
    if (watch is not None) != bool(panel):
        raise AssertionError(f"the panel is {'not ' if panel else ''}watched")
    settings.WARMER_COUNT_READS = counts
    read_counters.follow_settings()


def _get(job: KeyedJob[Any], ids: list[int]) -> None:
    for id in ids:
        if job.get(id) is None:
            raise AssertionError(f"no profile of {id}")


def _cache_get(ids: list[int]) -> None:
    for id in ids:
        if cache.get(key_of(id)) is None:
            raise AssertionError(f"no profile of {id}")


def _get_many(job: KeyedJob[Any], pages: list[list[int]]) -> None:
    for page in pages:
        if len(job.get_many(page)) != len(page):
            raise AssertionError("some profiles are missing")
