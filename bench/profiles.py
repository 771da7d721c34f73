"""Warming and reading profiles in one process: a job, compared with hand-written code.

`warm`: each row reads the same users in its best way, and writes the same values with the same timeout and
serializer into an empty cache. There are three tables: a plain profile of five short columns, which mostly
compares the ways of writing; the site's whole profile, with a bio and a date, where reading takes most of
the time; and the whole profile with django-redis' default serializer (pickle).

`parts`: where the time goes. Reading and encoding cost the same for every way to write the same values, which
limits how much faster one can be than another.

`read`: a job's reads, against plain reads of the cache and of the database.

`refresh`: runs when all keys are still fresh, against a full run.

`cluster`: writing to a Redis Cluster under the fences of its slots, against a pipeline of SET.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.core.cache import cache, caches
from django.test import override_settings
from redis.commands.core import Script

from bench import data
from bench.measure import Row, Table, cost, speed
from bench.site import Site
from embedded.redis_server import RedisCluster
from warmer.keys import KeyTemplate
from warmer.models import Trigger
from warmer.stores import open_store
from warmer.tasks import request_run

MILLISECONDS = data.TIMEOUT_SECONDS * 1000
LOOP, OBJECTS = "loop of cache.set, model objects", "set_many, model objects"
ROWS, LIMIT = "set_many, .values() rows", "the limit: one unfenced Lua call a batch"
TARGETS = {LOOP: 15.0, OBJECTS: 3.0, ROWS: 2.5, LIMIT: 0.75}
JSON, PICKLE = "JSON, compressed", "pickle, not compressed"
PIPELINE = "SET, a pipeline a batch"
FULL = "warmer: a full run"
VALUE = {"name": "Ada", "bio": data.BIO}
BOTH, CLUSTER_PIPELINE = "warmer: token and write", "SET, a pipeline a batch, encoded before"
MANY = 100
HIT = "warmer: job.get(id), cached"
NO_CACHE, GET, GET_MANY = "one query, no cache", "cache.get(key)", "cache.get_many(keys)"

# The limit: one call writes the encoded values, without any comparison.
WRITE_ALL = b"""
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[1]) end
"""


def warm(rows: int, site: Site) -> list[Table[Row]]:
    ids = data.create_users(rows)

    def table(title: str, alias: str, shape: data.Shape) -> Table[Row]:
        job = data.declare_job(alias, loader=shape.load)
        check = data.expect_all(alias, ids, shape)
        row = partial(Row, operations=rows, prepare=data.empty_cache, verify=check)
        faster = [speed(other=other, target=target) for other, target in TARGETS.items()]
        ways = [
            row(title=LOOP, run=partial(_loop, alias, shape)),
            row(title=OBJECTS, run=partial(_set_many, alias, shape.from_objects)),
            row(title=ROWS, run=partial(_set_many, alias, shape.from_rows)),
            row(title="warmer: job.warm()", run=job.warm, versus=faster),
            row(title=LIMIT, run=partial(_limit, alias, shape)),
        ]
        return Table(title=title, operation="profile", rows=ways)

    return [
        table("a plain profile: five short columns", "plain", data.PLAIN),
        table("the site's whole profile: with a bio and a date", "default", data.WHOLE),
        table("the whole profile, by pickle: django-redis' own default", "pickled", data.WHOLE),
    ]


def _loop(alias: str, shape: data.Shape) -> None:
    cache = caches[alias]
    for profile in shape.from_objects():
        cache.set(data.key_of(profile["id"]), profile, data.TIMEOUT_SECONDS)


def _set_many(alias: str, profiles: Callable[[], Iterable[data.Profile]]) -> None:
    for batch in data.in_batches(profiles()):
        values = {data.key_of(profile["id"]): profile for profile in batch}
        caches[alias].set_many(values, data.TIMEOUT_SECONDS)


def _limit(alias: str, shape: data.Shape) -> None:
    cache: Any = caches[alias]
    write = Script(data.server_client(), WRITE_ALL)
    make_key, encode = cache.client.make_key, cache.client.encode
    for batch in data.in_batches(shape.from_rows()):
        keys = [make_key(data.key_of(profile["id"])) for profile in batch]
        write(keys=keys, args=[MILLISECONDS, *map(encode, batch)])


def parts(rows: int, site: Site) -> list[Table[Row]]:
    """Return a table for each part; its input is prepared in advance."""
    ids = data.create_users(rows)
    profiles = list(data.WHOLE.from_rows())
    encode = _encoder("default")
    encoded = ((data.key_of(profile["id"]), encode(profile)) for profile in profiles)
    batches = [dict(batch) for batch in data.in_batches(encoded)]

    def written(_: object) -> None:
        if (found := data.server_client().dbsize()) != rows:
            raise AssertionError(f"{found} keys were written instead of {rows}")

    def encode_all(alias: str) -> None:
        encode = _encoder(alias)
        for profile in profiles:
            encode(profile)

    def load_batches() -> None:
        for batch in data.in_batches(ids):
            data.WHOLE.load(batch)

    row = partial(Row, operations=rows)
    write = partial(row, prepare=data.empty_cache, verify=written)
    by_rows = ".values() rows"
    reading = [
        row(title="model objects", run=lambda: list(data.WHOLE.from_objects())),
        row(title=by_rows, run=lambda: list(data.WHOLE.from_rows()), versus=[speed(other="model objects")]),
        row(title=f"{by_rows}, each batch by its ids", run=load_batches),
    ]
    exact = [speed(other=JSON), speed(other=PICKLE)]
    encoding = [
        row(title="MessagePack, exact", run=partial(encode_all, "default"), versus=exact),
        row(title=JSON, run=partial(encode_all, "json")),
        row(title=PICKLE, run=partial(encode_all, "pickled")),
    ]
    writing = [
        write(title=PIPELINE, run=partial(data.write_pipelines, batches)),
        write(title="one Lua call a batch", run=partial(_calls, batches), versus=[speed(other=PIPELINE)]),
    ]
    return [
        Table(title="reading", operation="profile", rows=reading),
        Table(title="encoding", operation="profile", rows=encoding),
        Table(title="writing what was encoded before", operation="profile", rows=writing),
    ]


def _encoder(alias: str) -> Callable[[Any], bytes]:
    cache: Any = caches[alias]
    return cache.client.encode


def _calls(batches: list[dict[str, bytes]]) -> None:
    write = Script(data.server_client(), WRITE_ALL)
    for batch in batches:
        write(keys=list(batch), args=[MILLISECONDS, *batch.values()])


def read(rows: int, site: Site) -> list[Table[Row]]:
    """Return two tables: each profile by itself, in random order, and 100 at a time."""
    ids = data.create_users(rows)
    random.Random(7).shuffle(ids)
    job = data.declare_job()
    pages = [ids[at : at + MANY] for at in range(0, len(ids), MANY)]
    check = data.expect_all("default", ids)

    def each(read_one: Callable[[int], Any]) -> None:
        for id in ids:
            if read_one(id) is None:
                raise AssertionError(f"no profile of {id}")

    def each_page(read_some: Callable[[list[int]], Any]) -> None:
        for page in pages:
            if len(read_some(page)) != len(page):
                raise AssertionError("some profiles are missing")

    def make_cold() -> None:
        cache.delete_many(map(data.key_of, ids))

    row, page_row = partial(Row, operations=len(ids)), partial(Row, operations=len(pages))
    hit = partial(row, prepare=job.warm, verify=check)
    page_hit = partial(page_row, prepare=job.warm, verify=check)
    against = [cost(other=GET, target=1.25), speed(other=NO_CACHE)]
    one = [
        hit(title=HIT, run=partial(each, job.get), versus=against),
        hit(title=GET, run=partial(each, lambda user: cache.get(data.key_of(user)))),
        row(title=NO_CACHE, run=partial(each, lambda user: data.WHOLE.load([user])[user])),
        row(
            title="warmer: job.get(id), cold",
            run=partial(each, job.get),
            prepare=make_cold,
            verify=check,
            versus=[cost(other=NO_CACHE)],
        ),
    ]
    many = [
        page_hit(
            title="warmer: job.get_many(ids), cached",
            run=partial(each_page, job.get_many),
            versus=[cost(other=GET_MANY, target=1.25), speed(other=NO_CACHE)],
        ),
        page_hit(title=GET_MANY, run=partial(each_page, lambda page: cache.get_many(map(data.key_of, page)))),
        page_row(title=NO_CACHE, run=partial(each_page, data.WHOLE.load)),
    ]
    return [
        Table(title="one profile", operation="call", rows=one),
        Table(title=f"{MANY} profiles at once", operation="call", rows=many),
    ]


def refresh(rows: int, site: Site) -> list[Table[Row]]:
    ids = data.create_users(rows)
    loaded: list[int] = []

    def load(ids: Sequence[int]) -> dict[int, data.Profile]:
        loaded.extend(ids)
        return data.WHOLE.load(ids)

    job = data.declare_job(loader=load, refresh_below=0.5)
    job.warm()
    check = data.expect_all("default", ids)

    def row(title: str, trigger: Trigger, *, loads: int, only_missing: bool = False) -> Row:
        def verify(_: object) -> None:
            if len(loaded) != loads:
                raise AssertionError(f"{len(loaded)} profiles were loaded, not {loads}")
            check()

        return Row(
            title=title,
            run=partial(request_run, job.name, trigger, only_missing=only_missing),
            operations=rows,
            prepare=loaded.clear,
            verify=verify,
            versus=[] if loads else [speed(other=FULL, target=10.0)],
        )

    runs = [
        row(FULL, Trigger.COMMAND, loads=rows),
        row("warmer: only what is missing", Trigger.COMMAND, loads=0, only_missing=True),
        row("warmer: the schedule's, with refresh_below", Trigger.SCHEDULE, loads=0),
    ]
    return [Table(operation="profile", rows=runs)]


def cluster(rows: int, site: Site) -> list[Table[Row]]:
    nodes = site.enter_context(RedisCluster())
    entry = {"BACKEND": "warmer.stores.redis.backend.RedisCache", "LOCATION": nodes.url}
    site.enter_context(override_settings(CACHES={**settings.CACHES, "cluster": entry}))
    template = KeyTemplate.parse("user:{id}:profile", keyed=True)
    store = open_store(alias="cluster", template=template, timeout=data.TIMEOUT_SECONDS)
    batches = list(data.in_batches(map(data.key_of, range(rows))))
    cache: Any = caches["cluster"]
    encoded = cache.client.encode(VALUE)

    def write(token: Any = None) -> None:
        for batch in batches:
            store.write(token or store.token(batch), dict.fromkeys(batch, VALUE))

    def pipelines() -> None:
        named = ({cache.make_key(key): encoded for key in batch} for batch in batches)
        data.write_pipelines(named, "cluster")

    def written(_: object) -> None:
        if (found := len(cache.get_many(map(data.key_of, range(rows))))) != rows:
            raise AssertionError(f"{found} keys were written instead of {rows}")

    row = partial(Row, operations=rows, verify=written)
    token = store.token(list(map(data.key_of, range(rows))))
    rows_ = [
        row(
            title="warmer: write",
            run=partial(write, token),
            versus=[speed(other=CLUSTER_PIPELINE, target=0.6)],
        ),
        row(title=BOTH, run=write, versus=[speed(other=CLUSTER_PIPELINE)]),
        row(title=CLUSTER_PIPELINE, run=pipelines),
    ]
    return [Table(operation="key", rows=rows_)]
