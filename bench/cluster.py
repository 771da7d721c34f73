"""Writing to a Redis Cluster of three nodes: under the fences of its slots, against a pipeline of SET."""

from functools import partial
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from bench import data
from bench.measure import Row, Table, speed
from bench.site import Site
from embedded.redis_server import RedisCluster
from warmer.keys import KeyTemplate
from warmer.stores import open_store

VALUE = {"name": "Ada", "bio": data.BIO}
BOTH, PIPELINE = "warmer: token and write", "SET, a pipeline a batch, encoded before"


def cluster(rows: int, site: Site) -> list[Table[Row]]:
    """Return each way to write this many keys in batches, on one cluster."""
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
        row(title="warmer: write", run=partial(write, token), versus=[speed(other=PIPELINE, target=0.6)]),
        row(title=BOTH, run=write, versus=[speed(other=PIPELINE)]),
        row(title=PIPELINE, run=pipelines),
    ]
    return [Table(operation="key", rows=rows_)]
