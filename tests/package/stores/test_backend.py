"""The backend of this package: the site's own calls share the jobs' circuit breaker."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.redis_server import RedisServer
from tests.support.stores import open_things
from warmer.exceptions import CircuitOpen, StoreUnavailable
from warmer.stores import breaker as breakers

Clock = Callable[[float], None]


@pytest.mark.usefixtures("clock")
def test_backend__of_the_sites_calls_one_waits_for_a_cache_that_hangs(
    redis_server: RedisServer, failures: list[BaseException], own_backend: str
) -> None:
    cache = caches[own_backend]
    store = open_things(alias=own_backend)
    cache.set("a", [1])
    redis_server.pause()
    for _ in range(20):
        assert cache.get("a") is None
        assert cache.get_many(["a", "b"]) in ({}, None)
        cache.set("a", 2)
        with pytest.raises(CircuitOpen):  # the jobs of the cache share the breaker
            store.ping()
    assert len(failures) == 1
    redis_server.resume()
    assert cache.get("a") == [1]


@pytest.mark.usefixtures("clock")
def test_backend__restarted_server_costs_no_call(redis_server: RedisServer, own_backend: str) -> None:
    cache = caches[own_backend]
    cache.set("a", 1)
    redis_server.restart()
    cache.set("a", 2)  # on a new connection
    assert cache.get("a") == 2


def test_backend__without_ignore_exceptions_raises_what_failed_and_then_that_it_is_left_alone(
    settings: Any, redis_server: RedisServer, own_backend: str, clock: Clock
) -> None:
    entry = {**settings.CACHES[own_backend], "OPTIONS": {"IGNORE_EXCEPTIONS": False}}
    settings.CACHES = {**settings.CACHES, "own": entry}
    redis_server.stop()
    with pytest.raises(RedisConnectionError):
        caches["own"].get("a")
    with pytest.raises(CircuitOpen):
        caches["own"].get("a")
    with pytest.raises(RedisConnectionError):  # for code that goes on without Redis
        caches["own"].get("a")


@pytest.mark.usefixtures("clock")
def test_backend__used_up_pool_is_no_outage(settings: Any, failures: list[BaseException], own_backend: str) -> None:
    entry = settings.CACHES[own_backend]
    options = {"CONNECTION_POOL_KWARGS": {"max_connections": 1, "timeout": 0.01}}
    address = entry["LOCATION"].replace("=own", "=small")
    settings.CACHES = {**settings.CACHES, "own": {**entry, "LOCATION": address, "OPTIONS": options}}
    cache = caches["own"]
    cache.set("a", 1)
    pool = cache.client.get_client().connection_pool
    taken = pool.get_connection()
    assert cache.get("a") is None
    with pytest.raises(StoreUnavailable, match="No connection"):
        open_things(alias="own").ping()
    pool.release(taken)
    assert cache.get("a") == 1
    assert failures == []


def test_backend__hears_of_an_outage_and_takes_an_iterator_that_was_not_begun_for_no_answer(
    redis_server: RedisServer, failures: list[BaseException], own_backend: str, clock: Clock
) -> None:
    cache = caches[own_backend]
    redis_server.stop()
    with pytest.raises(RedisConnectionError):
        cache.touch("a")  # django-redis does not wrap what it raises
    assert len(failures) == 1
    clock(1)
    cache.iter_keys("*")
    assert breakers.breaker_of(own_backend).is_open
    with pytest.raises(RedisConnectionError):
        list(cache.iter_keys("*"))


def test_backend__has_a_pool_and_options_of_its_own_whatever_other_aliases_are_at_its_address(
    settings: Any, own_backend: str
) -> None:
    own = settings.CACHES[own_backend]
    settings.CACHES = {
        **settings.CACHES,
        "plain": {**own, "BACKEND": "django_redis.cache.RedisCache"},
        "patient": {**own, "OPTIONS": {"SOCKET_TIMEOUT": 3}},
        "mixed": {**own, "OPTIONS": {"CONNECTION_POOL_KWARGS": {"socket_timeout": 3}}},
    }
    caches["plain"].set("a", 1)
    names = ("socket_timeout", "socket_connect_timeout")
    options = {
        alias: [caches[alias].client.get_client().connection_pool.connection_kwargs[name] for name in names]
        for alias in ("patient", "own", "mixed")
    }
    assert options == {"patient": [3, 0.5], "own": [0.5, 0.5], "mixed": [3, 0.5]}
