"""Warming profiles with other libraries that have an API for it, each in its own process.

Each reads the same rows with the same function, as many at a time as it supports, into an empty cache, and
encodes them by its own default. Each is imported only in its own process, because some patch Django.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from django.conf import settings

from bench import data
from bench.measure import Row, Table, cost, speed
from bench.site import PROCESS, Site, Worker
from users.models import CustomUser

SAMPLE = 100
SERVER = "server bytes a key"
WARMER, PICKLE = "warmer: job.warm()", "warmer: job.warm(), pickle"
DOGPILE, CACHEOPS = "dogpile.cache: get_or_create_multi", "cacheops: cached_as"
CACHEBACK = "cacheback: Job.refresh"
APPS = {CACHEOPS: "cacheops", CACHEBACK: "cacheback"}


def peers(rows: int, site: Site) -> list[Table[Row]]:
    sample = random.Random(7).sample(data.create_users(rows), min(SAMPLE, rows))
    others = (DOGPILE, CACHEOPS, CACHEBACK)
    faster = [speed(other=other, target=1.0) for other in others]
    smaller = [cost(other=other, of=of, target=1.0) for of in (SERVER, PROCESS) for other in others]
    versus = {WARMER: [*faster, *smaller], PICKLE: faster}

    def row(title: str) -> Row:
        worker = site.enter_context(Worker(BENCH_APPS=APPS.get(title, "")))

        def verify(_: object) -> Mapping[str, float]:
            counts = {SERVER: _memory_used(rows) / rows, **worker.peaks()}
            worker.ask(check_profiles, title, sample)
            return counts

        row = partial(worker.row, warm_all, title, title=title, operations=rows)
        return row(prepare=data.empty_cache, verify=verify, versus=versus.get(title, ()))

    return [Table(operation="profile", rows=[row(title) for title in LIBRARIES])]


def _memory_used(rows: int) -> int:
    """Return the total size of all keys on the server in bytes; check that there is one for each profile."""
    client = data.server_client()
    if (found := client.dbsize()) < rows:
        raise AssertionError(f"{found} keys for {rows} profiles")
    pipeline = client.pipeline(transaction=False)
    for key in client.scan_iter(count=1_000):
        pipeline.memory_usage(key, samples=0)  # of a set or hash, all of it
    return sum(pipeline.execute())


# -- what a process does ---------------------------------------------------------------------------
loaded: list[int] = []

# The functions that warm all profiles, and that read one.
Library = tuple[Callable[[], object], Callable[[int], Any]]


def load_some(ids: Sequence[int]) -> dict[int, data.Profile]:
    """Load profiles in one query: the loader that all libraries call."""
    loaded[:] = ids
    return data.WHOLE.load(ids)


def load_one(id: int) -> data.Profile:
    return load_some([id])[id]


def warmer(alias: str) -> Library:
    job = data.declare_job(alias, loader=load_some)
    return job.warm, job.get


def dogpile() -> Library:
    """Return `get_or_create_multi` of a region in Redis, as many keys at a time as `warmer` loads."""
    from dogpile.cache import make_region

    url = settings.CACHES["default"]["LOCATION"]
    region = make_region().configure(
        "dogpile.cache.redis",
        expiration_time=data.TIMEOUT_SECONDS,
        arguments={"url": url, "redis_expiration_time": data.TIMEOUT_SECONDS + 60},
    )

    def get(ids: list[int]) -> list[Any]:
        of_key = {data.key_of(id): id for id in ids}

        def create(*keys: str) -> list[Any]:
            found = load_some([of_key[key] for key in keys])
            return [found[of_key[key]] for key in keys]

        return list(region.get_or_create_multi(list(of_key), create))

    return lambda: for_each(get, data.in_batches(data.active_ids())), lambda user: get([user])[0]


def cacheops() -> Library:
    """Return a call of a function that caches one user's queryset, on a cold key."""
    from cacheops import cached_as

    def read(id: int) -> Any:
        return cached_as(CustomUser.objects.filter(pk=id), timeout=data.TIMEOUT_SECONDS)(load_one)(id)

    return lambda: for_each(read, data.active_ids()), read


def cacheback() -> Library:
    """Return `refresh` for one key after the other, as its Celery task calls it."""
    from cacheback.base import Job

    class ProfileJob(Job):
        lifetime = data.TIMEOUT_SECONDS
        fetch = staticmethod(load_one)

    job = ProfileJob()
    return lambda: for_each(job.refresh, data.active_ids()), job.get


LIBRARIES: Mapping[str, Callable[[], Library]] = {
    WARMER: partial(warmer, "default"),
    PICKLE: partial(warmer, "pickled"),
    DOGPILE: dogpile,
    CACHEOPS: cacheops,
    CACHEBACK: cacheback,
}


@cache
def library(title: str) -> Library:
    return LIBRARIES[title]()


def for_each(function: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Call a function with each item, and drop the results, because the peak of memory is measured."""
    for item in items:
        function(item)


def warm_all(title: str) -> None:
    warm, _ = library(title)
    warm()


def check_profiles(title: str, ids: Sequence[int]) -> None:
    _, read = library(title)
    loaded.clear()
    expected = data.WHOLE.load(ids)
    wrong = [id for id in ids if read(id) != expected[id]]
    if wrong or loaded:
        raise AssertionError(f"{len(wrong)} of {len(ids)} profiles are wrong, or some are not cached")
