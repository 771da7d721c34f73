"""Reading profiles: a job's reads, against plain reads of the cache and of the database."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from django.core.cache import cache

from bench.measure import Benchmark, Comparison, Contender
from bench.profiles import create_users, declare_job, expect_all, key_of, load
from warmer.api import KeyedJob

MANY = 100
ONE = "one profile"
SOME = f"{MANY} profiles at once"


def benchmark(rows: int) -> Benchmark:
    """Return who reads: each profile once, in random order, or all of them, 100 at a time."""
    ids = create_users(rows)
    random.Random(7).shuffle(ids)
    job = declare_job()
    pages = [ids[at : at + MANY] for at in range(0, len(ids), MANY)]
    check = expect_all("default", ids)
    hit: dict[str, Any] = {"prepare": partial(_warm, job), "verify": check}

    one: dict[str, Any] = {"group": ONE, "operations": len(ids)}
    some: dict[str, Any] = {"group": SOME, "operations": len(pages)}
    contenders = [
        Contender(name="get", title="warmer: job.get(id), cached", run=partial(_get, job, ids), **hit, **one),
        Contender(name="cache_get", title="cache.get(key)", run=partial(_cache_get, ids), **hit, **one),
        Contender(name="load", title="one query, no cache", run=partial(_load, [[id] for id in ids]), **one),
        Contender(
            name="miss",
            title="warmer: job.get(id), cold",
            run=partial(_get, job, ids),
            prepare=partial(_delete, ids),
            verify=check,
            **one,
        ),
        Contender(
            name="get_many",
            title="warmer: job.get_many(ids), cached",
            run=partial(_get_many, job, pages),
            **hit,
            **some,
        ),
        Contender(
            name="cache_get_many",
            title="cache.get_many(keys)",
            run=partial(_cache_get_many, pages),
            **hit,
            **some,
        ),
        Contender(name="load_many", title="one query, no cache", run=partial(_load, pages), **some),
    ]
    comparisons = [
        Comparison(subject="get", against="cache_get", kind="cost", target=1.25),
        Comparison(subject="get", against="load", kind="speed"),
        Comparison(subject="miss", against="load", kind="cost"),
        Comparison(subject="get_many", against="cache_get_many", kind="cost", target=1.25),
        Comparison(subject="get_many", against="load_many", kind="speed"),
    ]
    return Benchmark(operation="call", shows="time", contenders=contenders, comparisons=comparisons)


def _get(job: KeyedJob[Any], ids: list[int]) -> None:
    for id in ids:
        if job.get(id) is None:
            raise AssertionError(f"no profile of {id}")


def _cache_get(ids: list[int]) -> None:
    for id in ids:
        if cache.get(key_of(id)) is None:
            raise AssertionError(f"no profile of {id}")


def _load(pages: list[list[int]]) -> None:
    for page in pages:
        if len(load(page)) != len(page):
            raise AssertionError("some profiles are missing")


def _get_many(job: KeyedJob[Any], pages: list[list[int]]) -> None:
    for page in pages:
        if len(job.get_many(page)) != len(page):
            raise AssertionError("some profiles are missing")


def _cache_get_many(pages: list[list[int]]) -> None:
    for page in pages:
        if len(cache.get_many([key_of(id) for id in page])) != len(page):
            raise AssertionError("some profiles are missing")


def _warm(job: KeyedJob[Any]) -> None:
    job.warm()


def _delete(ids: list[int]) -> None:
    cache.delete_many(map(key_of, ids))
