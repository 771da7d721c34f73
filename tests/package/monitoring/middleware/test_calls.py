"""Which calls of caches and jobs are counted, and as what; the caches answer as ever."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.redis_server import RedisServer
from tests.package.monitoring.middleware.conftest import LOCMEM, counted, get, said
from tests.package.monitoring.things import declare
from warmer import warm
from warmer.monitoring.middleware import CacheMonitoringMiddleware
from warmer.stores.instrumentation import observer

pytestmark = pytest.mark.usefixtures("own_jobs")


CACHED = {"there": {"a": 1}, "zero": 0, "null": None}
MINE = object()


@pytest.mark.parametrize(
    ("work", "answer", "expected"),
    [
        (lambda: None, None, "0 calls, 0 hits, 0 misses"),
        (lambda: cache.get("none"), None, "1 call, 0 hits, 1 miss"),
        (lambda: cache.get("there"), {"a": 1}, "1 call, 1 hit, 0 misses"),
        (lambda: cache.get("zero", 0), 0, "1 call, 1 hit, 0 misses"),
        (lambda: cache.get("null", "default"), None, "1 call, 1 hit, 0 misses"),
        (lambda: cache.get(key="none", default=MINE), MINE, "1 call, 0 hits, 1 miss"),
        (lambda: cache.get_many(key for key in (*CACHED, "none")), CACHED, "1 call, 3 hits, 1 miss"),
        (lambda: cache.get_many([]), {}, "1 call, 0 hits, 0 misses"),
        (lambda: "there" in cache, True, "1 call, 1 hit, 0 misses"),
        (lambda: cache.has_key("none"), False, "1 call, 0 hits, 1 miss"),
        (lambda: cache.add("there", 2), False, "1 call, 0 hits, 0 misses"),
        (lambda: cache.incr("zero", 5), 5, "1 call, 0 hits, 0 misses"),
        (lambda: cache.touch("there"), True, "1 call, 0 hits, 0 misses"),
        (lambda: cache.delete("there"), True, "1 call, 0 hits, 0 misses"),
        (lambda: cache.delete("none"), False, "1 call, 0 hits, 0 misses"),
        (lambda: cache.set_many({"one": 1, "two": 2}) or [], [], "1 call, 0 hits, 0 misses"),
        (lambda: cache.delete_many(["zero", "there"]) and None, None, "1 call, 0 hits, 0 misses"),
        (lambda: cache.get_or_set("there", 1), {"a": 1}, "1 call, 1 hit, 0 misses"),
        (lambda: cache.get_or_set("none", 1), 1, "3 calls, 1 hit, 1 miss"),
        (lambda: cache.get_or_set("none", lambda: cache.get("there")), {"a": 1}, "4 calls, 2 hits, 1 miss"),
    ],
)
def test_call__is_counted_and_answered(any_cache: str, work: Callable[[], object], answer: Any, expected: str) -> None:
    cache.set_many(CACHED)
    answers: list[Any] = []
    assert counted(lambda: answers.append(work())) == expected
    assert answers == [answer]


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
    entry = settings.CACHES["default"]
    pool = {"CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool"}  # as the settings of the pool ask
    options = {**entry["OPTIONS"], **pool, "IGNORE_EXCEPTIONS": False}
    # Without the breaker of our own backend, each call is a call to the server.
    settings.CACHES = {"default": {**entry, "BACKEND": "django_redis.cache.RedisCache", "OPTIONS": options}}
    redis_server.stop()

    def work() -> None:
        with pytest.raises(RedisConnectionError, match="refused"):
            cache.get("key")
        with pytest.raises(RedisConnectionError, match="refused"):
            cache.get_many(["key"])

    assert counted(work) == "2 calls, 0 hits, 0 misses"


def test_caches__are_told_apart_in_the_log(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.CACHES = {**settings.CACHES, "second": {"BACKEND": LOCMEM, "LOCATION": "second"}}

    def view(request: HttpRequest) -> HttpResponse:
        cache.set("key", 1)
        caches["second"].get_many(["a", "b"])
        return HttpResponse()

    assert said(get(view)) == {"cache": "2 calls, 0 hits, 2 misses"}
    assert "default: 1 call, 0 hits, 0 misses; second: 1 call, 0 hits, 2 misses" in caplog.text


def test_cache__that_was_made_before_the_middleware(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "before"}}
    early = LocMemCache("early", {})
    caches["default"] = early  # as if its thread had made it before
    assert counted(lambda: cache.get("key")) == "1 call, 0 hits, 1 miss"
    assert caches["default"] is early


@pytest.mark.django_db(transaction=True)
def test_job__read_is_one_call_on_any_cache(any_cache: str) -> None:
    things = declare()
    things.warm([1, 2, 3])
    assert counted(lambda: things.get(1)) == "1 call, 1 hit, 0 misses"
    assert counted(lambda: things.get_many([1, 2, 3])) == "1 call, 3 hits, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__miss_is_three_calls_and_one_miss() -> None:
    for value in ("value", None):  # a missing value is cached, too
        one = warm(f"one:{value}", name=f"one_{value}", negative_timeout=timedelta(minutes=1))(lambda v=value: v)
        assert counted(one.get) == "3 calls, 0 hits, 1 miss"  # look, claim, write
        assert counted(one.get) == "1 call, 1 hit, 0 misses"
    reader = warm("reader", name="reader")(lambda: cache.get("part", "nothing"))
    assert counted(reader.get).endswith("0 hits, 2 misses")


@pytest.mark.django_db(transaction=True)
def test_job__warm_is_a_token_and_a_write_a_batch() -> None:
    things = declare(batch_size=5)
    things.warm()  # so that the server knows the scripts
    assert counted(things.warm) == "4 calls, 0 hits, 0 misses"


def test_threads__do_not_hear_of_each_other(any_cache: str) -> None:
    numbers = range(2, 9)
    together = Barrier(len(numbers), timeout=30)
    found: dict[int, str] = {}

    def serve(number: int) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            together.wait()
            for step in range(max(numbers)):
                if step < number:
                    cache.get(f"{number}:{step}")
                together.wait()
            return HttpResponse()

        found[number] = said(get(view))["cache"]

    threads = [Thread(target=serve, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number} calls, 0 hits, {number} misses" for number in numbers}


def test_requests__in_turn_begin_at_nothing(any_cache: str) -> None:
    assert counted(lambda: cache.get("a")) == "1 call, 0 hits, 1 miss"
    with pytest.raises(ValueError, match="none"):
        counted(lambda: cache.incr("none"))
    assert counted(lambda: cache.get("a")) == "1 call, 0 hits, 1 miss"
    assert observer.get() is None


def test_tasks__do_not_hear_of_each_other(any_cache: str) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        for number in range(int(request.GET["number"])):
            await cache.aget(str(number))
            await asyncio.sleep(0)  # let the others run
        return HttpResponse()

    served = CacheMonitoringMiddleware(view)
    assert iscoroutinefunction(served)

    async def serve_all() -> list[Any]:
        factory = RequestFactory()
        return await asyncio.gather(*(served(factory.get("/", {"number": n})) for n in range(2, 8)))

    responses = asyncio.run(serve_all())
    assert [said(response)["cache"] for response in responses] == [
        f"{n} calls, 0 hits, {n} misses" for n in range(2, 8)
    ]


def test_task__and_what_it_starts_are_one_request(any_cache: str) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        await asyncio.gather(
            cache.aget("a"), cache.aset("b", 1), sync_to_async(cache.get)("c"), asyncio.to_thread(cache.get, "d")
        )
        return HttpResponse()

    response = asyncio.run(CacheMonitoringMiddleware(view)(RequestFactory().get("/")))
    assert said(response)["cache"] == "4 calls, 0 hits, 3 misses"
