"""Warming profiles: a job, against what people write by hand, and against the limit of the machine.

Everyone reads the same rows in the way that suits it best and writes the same values with the same
timeout into an empty cache, by the same serializer. Three times: a plain profile of five short columns,
of which little else is seen than the ways of writing; the site's whole profile, with a text and a date, of
which most of the time is reading, whoever writes; and that one as django-redis by itself encodes it (pickle).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from django.core.cache import caches
from redis import Redis
from redis.commands.core import Script

from bench.measure import Benchmark, Comparison, Contender
from bench.profiles import (
    BATCH,
    PLAIN,
    TIMEOUT_SECONDS,
    WHOLE,
    Profile,
    Shape,
    active_users,
    create_users,
    declare_job,
    expect_all,
    key_of,
)
from warmer.api import KeyedJob

WRITE_ALL = b"""
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1]) end
"""


@dataclass(frozen=True, kw_only=True)
class Group:
    """What is warmed, and in which cache."""

    alias: str
    title: str
    shape: Shape


GROUPS = (
    Group(alias="plain", title="a plain profile: five short columns", shape=PLAIN),
    Group(alias="default", title="the site's whole profile: with a text and a date", shape=WHOLE),
    Group(alias="pickled", title="the whole profile, by pickle: django-redis' own default", shape=WHOLE),
)
TARGETS = {"loop": 15.0, "objects": 3.0, "values": 2.5, "limit": 0.75}


def benchmark(rows: int) -> Benchmark:
    """Return the contenders for each group."""
    ids = create_users(rows)
    contenders: list[Contender] = []
    comparisons: list[Comparison] = []
    for group in GROUPS:
        alias, shape = group.alias, group.shape
        job = declare_job(alias, loader=shape.load)
        ways = {
            "loop": ("loop of cache.set, model objects", partial(_loop, alias, shape)),
            "objects": ("set_many, model objects", partial(_set_many, alias, shape.of_users)),
            "values": ("set_many, .values() rows", partial(_set_many, alias, shape.of_rows)),
            "warmer": ("warmer: job.warm()", partial(_warm, job, rows)),
            "limit": ("the limit: one unfenced Lua call a batch", partial(_limit, alias, shape)),
        }
        contenders += [
            Contender(
                name=f"{way}_{alias}",
                title=title,
                group=group.title,
                run=run,
                operations=rows,
                prepare=partial(_flush, alias),
                verify=expect_all(alias, ids, shape),
            )
            for way, (title, run) in ways.items()
        ]
        comparisons += [
            Comparison(subject=f"warmer_{alias}", against=f"{way}_{alias}", kind="speed", target=target)
            for way, target in TARGETS.items()
        ]
    return Benchmark(operation="profile", shows="rate", contenders=contenders, comparisons=comparisons)


def one_call(client: Redis) -> Script:
    """Return the limit: what writes encoded values in one call, and asks for nothing."""
    return Script(client, WRITE_ALL)


def _warm(job: KeyedJob[Any], rows: int) -> None:
    report = job.warm()
    if report.written != rows:
        raise AssertionError(f"not every profile was written: {report}")


def _loop(alias: str, shape: Shape) -> None:
    cache = caches[alias]
    for user in active_users():
        cache.set(key_of(user.id), shape.of_user(user), TIMEOUT_SECONDS)


def _set_many(alias: str, profiles: Any) -> None:
    cache = caches[alias]
    for some in _batches(profiles()):
        cache.set_many({key_of(profile["id"]): profile for profile in some}, TIMEOUT_SECONDS)


def _limit(alias: str, shape: Shape) -> None:
    cache: Any = caches[alias]
    write = one_call(cache.client.get_client(write=True))
    make_key, encode = cache.client.make_key, cache.client.encode
    for some in _batches(shape.of_rows()):
        keys = [make_key(key_of(profile["id"])) for profile in some]
        write(keys=keys, args=[TIMEOUT_SECONDS * 1000, *map(encode, some)])


def _batches(profiles: Iterable[Profile]) -> Iterator[list[Profile]]:
    stream = iter(profiles)
    while some := list(islice(stream, BATCH)):
        yield some


def _flush(alias: str) -> None:
    cache: Any = caches[alias]
    cache.client.get_client(write=True).flushdb()
