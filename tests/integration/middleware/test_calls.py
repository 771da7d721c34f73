"""Which calls of a cache are counted, and as what; the cache answers as ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest, HttpResponse
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.redis_server import RedisServer
from tests.integration.middleware.counting import LOCMEM, counted, get, said

pytestmark = pytest.mark.usefixtures("own_jobs")


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: None, "0 calls, 0 hits, 0 misses"),
        (lambda: cache.get("none"), "1 call, 0 hits, 1 miss"),
        (lambda: cache.get("there"), "1 call, 1 hit, 0 misses"),
        (lambda: cache.get("zero", 0), "1 call, 1 hit, 0 misses"),
        (lambda: cache.get(key="none", default=7), "1 call, 0 hits, 1 miss"),
        (lambda: cache.get_many(key for key in ("there", "zero", "none")), "1 call, 2 hits, 1 miss"),
        (lambda: cache.get_many([]), "1 call, 0 hits, 0 misses"),
        (lambda: "there" in cache, "1 call, 1 hit, 0 misses"),
        (lambda: cache.has_key("none"), "1 call, 0 hits, 1 miss"),
        (lambda: cache.set_many({"one": 1, "two": 2}), "1 call, 0 hits, 0 misses"),
        (lambda: cache.incr("zero"), "1 call, 0 hits, 0 misses"),
        (lambda: cache.delete_many(["zero", "there"]), "1 call, 0 hits, 0 misses"),
        (lambda: cache.get_or_set("there", 1), "1 call, 1 hit, 0 misses"),
        (lambda: cache.get_or_set("none", 1), "3 calls, 1 hit, 1 miss"),
        (lambda: cache.get_or_set("none", lambda: cache.get("there")), "4 calls, 2 hits, 1 miss"),
    ],
)
def test_call__is_counted(any_cache: str, work: Callable[[], object], expected: str) -> None:
    cache.set_many({"there": "x", "zero": 0})
    assert counted(work) == expected


def test_answers__are_those_of_the_cache(any_cache: str) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        cache.set("key", {"a": 1}, 60)
        cache.set("zero", 0)
        cache.set("null", None)
        mine = object()
        assert cache.get("key") == {"a": 1}
        assert cache.get("zero", 0) == 0
        assert cache.get("none", mine) is mine
        assert cache.get("null", "default") is None
        assert cache.get_many(["key", "none"]) == {"key": {"a": 1}}
        assert cache.add("key", 2) is False
        assert cache.incr("zero", 5) == 5
        with pytest.raises(ValueError, match="none"):
            cache.incr("none")
        assert cache.get_or_set("made", lambda: [1]) == [1]
        assert cache.touch("key") is True
        assert cache.delete("key") is True
        assert cache.delete("key") is False
        return HttpResponse()

    assert get(view).status_code == 200


def test_cached_none__is_a_hit(any_cache: str) -> None:
    cache.set("null", None)
    assert counted(lambda: cache.get("null", "default")) == "1 call, 1 hit, 0 misses"


def test_cache__keeps_its_class_and_its_names(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "names"}}
    get(lambda request: HttpResponse(str(cache.get("x"))))
    assert type(caches["default"]) is LocMemCache
    assert caches["default"].get.__name__ == "get"
    assert caches["default"].get.__doc__ == LocMemCache.get.__doc__
    assert LocMemCache.get.__qualname__ == "LocMemCache.get"


def test_call__is_one_round_trip_of_the_server(redis_client: Redis) -> None:
    """What is counted is what the server was asked."""
    keys = {f"key{number}": number for number in range(50)}
    cache.set_many(keys)
    before = redis_client.info("stats")["total_commands_processed"]
    assert counted(lambda: [cache.get_many(keys), cache.get("key1")]) == "2 calls, 51 hits, 0 misses"
    asked = redis_client.info("stats")["total_commands_processed"] - before
    assert asked == 2 + 1  # and the second INFO


def test_call__that_fails_is_counted_and_raised(settings: Any, redis_server: RedisServer) -> None:
    options = {**settings.CACHES["default"]["OPTIONS"], "IGNORE_EXCEPTIONS": False}
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": options}}
    redis_server.stop()

    def work() -> None:
        with pytest.raises(RedisConnectionError, match="refused"):
            cache.get("key")
        with pytest.raises(RedisConnectionError, match="refused"):
            cache.get_many(["key"])

    assert counted(work) == "2 calls, 0 hits, 0 misses"


def test_caches__are_told_apart(settings: Any) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "second": {"BACKEND": LOCMEM, "LOCATION": "second"},
        "an odd; name": {"BACKEND": LOCMEM, "LOCATION": "third"},
    }

    def view(request: HttpRequest) -> HttpResponse:
        cache.set("key", 1)
        caches["second"].get_many(["a", "b"])
        caches["an odd; name"].get("a")
        return HttpResponse()

    assert said(get(view)) == {
        "cache": "3 calls, 0 hits, 3 misses",
        "cache-default": "1 call, 0 hits, 0 misses",
        "cache-second": "1 call, 0 hits, 2 misses",
        "cache-an_odd__name": "1 call, 0 hits, 1 miss",
    }


def test_cache__that_was_made_before_the_middleware(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "before"}}
    early = LocMemCache("early", {})
    caches["default"] = early  # as if its thread had made it before
    assert counted(lambda: cache.get("key")) == "1 call, 0 hits, 1 miss"
    assert caches["default"] is early
