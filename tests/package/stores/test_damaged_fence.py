"""A fence that another program wrote to, or a server without memory: no old value comes back."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from embedded.redis_server import RedisServer
from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores import Invalidation, Store, invalidate_together, open_store
from warmer.stores.redis.store import RedisStore


def open_things(name: str = "thing") -> RedisStore:
    key = KeyTemplate.parse(f"{name}:{{id}}", keyed=True)
    store = open_store(alias="default", fence=name, template=key, timeout=60.0)
    assert isinstance(store, RedisStore)
    return store


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with redis_server.client() as client:
        yield client
        client.config_set("maxmemory", 0)


def of_another_type(client: Redis, fence: str) -> None:
    client.set(fence, "x")


def with_counter(count: float) -> Any:
    return lambda client, fence: client.zadd(fence, {"c": count})


def with_floor(count: float) -> Any:
    return lambda client, fence: client.zadd(fence, {"f": count})


def with_a_generation_that_is_no_text(client: Redis, fence: str) -> None:
    [generation] = client.zrangebyscore(fence, -1, -1)
    client.zrem(fence, generation)
    client.zadd(fence, {b"g:\xff\xfe": -1})


def without_a_counter(client: Redis, fence: str) -> None:
    client.zrem(fence, "c")


DAMAGES = [
    of_another_type,
    with_counter(float("inf")),
    with_counter(float("-inf")),
    with_counter(2.0**53),
    with_counter(1e18),
    with_floor(float("inf")),
    with_a_generation_that_is_no_text,
    without_a_counter,
]
every_damage = pytest.mark.parametrize("damage", DAMAGES)


def is_written(store: Store, token: Any, key: str) -> bool:
    return store.write(token, {key: "value"}).outcomes[key] is Outcome.WRITTEN


@every_damage
@pytest.mark.parametrize("way", ["token", "claim"])
def test_damaged_fence__is_made_anew_and_logged_once(
    damage: Any, way: str, client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_things()
    old = store.token([])
    damage(client, store.fence_key)
    token = store.token([]) if way == "token" else store.claim(["thing:1"], seconds=9).token
    assert is_written(store, token, "thing:1")
    store.token([])
    assert caplog.text.count(f"The fence {store.fence_key} was damaged") == 1
    if old.generation != token.generation:
        assert not is_written(store, old, "thing:2")


@every_damage
def test_damaged_fence__invalidates_this_job_and_the_others(damage: Any, client: Redis) -> None:
    store, other = open_things(), open_things("other")
    tokens = {each: each.token([]) for each in (store, other)}
    assert is_written(store, tokens[store], "thing:1")
    assert is_written(other, tokens[other], "other:1")
    damage(client, store.fence_key)
    invalidate_together([Invalidation(store=store, keys=["thing:1"]), Invalidation(store=other, keys=["other:1"])])
    assert cache.get_many(["thing:1", "other:1"]) == {}
    assert not is_written(store, tokens[store], "thing:1")
    assert not is_written(other, tokens[other], "other:1")


def test_server_without_memory__invalidation_drops_keys_and_fence(client: Redis) -> None:
    store = open_things()
    token = store.token([])
    assert is_written(store, token, "thing:1")
    client.config_set("maxmemory", 1)
    store.invalidate(["thing:1"])
    assert cache.get("thing:1") is None
    assert store.token([]).generation != token.generation  # a fence can be made all the same
    client.config_set("maxmemory", 0)
    assert not is_written(store, token, "thing:1")
    assert is_written(store, store.token([]), "thing:1")
