"""A fence that another program wrote to, or a server without memory: no old value comes back."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from redis import Redis

from embedded.redis_server import RedisServer
from tests.support.stores import open_things
from warmer.report import Outcome
from warmer.stores import Invalidation, Store, invalidate_together


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with redis_server.client() as client:
        yield client
        client.config_set("maxmemory", 0)


def with_a_generation_that_is_no_text(client: Redis, fence: str) -> None:
    [generation] = client.zrangebyscore(fence, -1, -1)
    client.zrem(fence, generation)
    client.zadd(fence, {b"g:\xff\xfe": -1})


def with_count(member: str, count: float) -> Any:
    return lambda client, fence: client.zadd(fence, {member: count})


every_damage = pytest.mark.parametrize(
    "damage",
    [
        lambda client, fence: client.set(fence, "of another type"),
        lambda client, fence: client.zrem(fence, "c"),
        *(with_count("c", count) for count in (float("inf"), float("-inf"), 2.0**53, 1e18)),
        with_count("f", float("inf")),
        with_a_generation_that_is_no_text,
    ],
)


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
    store = open_things()
    other = open_things("other:{id}")
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
