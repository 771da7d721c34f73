"""Threads and tasks that share a process do not hear of each other."""

from __future__ import annotations

import asyncio
from threading import Barrier, Thread
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from tests.integration.middleware.counting import counted, get, said
from warmer.monitoring.middleware import CacheMonitoringMiddleware
from warmer.stores.instrumentation import observer

pytestmark = pytest.mark.usefixtures("own_jobs")


def test_threads__do_not_hear_of_each_other(any_cache: str) -> None:
    numbers = range(1, 9)
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
    misses = {number: f"{number} miss{'es' if number > 1 else ''}" for number in numbers}
    assert found == {
        number: f"{number} call{'s' if number > 1 else ''}, 0 hits, {misses[number]}" for number in numbers
    }


def test_requests__in_turn_begin_at_nothing(any_cache: str) -> None:
    assert counted(lambda: cache.get("a")) == counted(lambda: cache.get("a")) == "1 call, 0 hits, 1 miss"
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
            cache.aget("a"),
            cache.aset("b", 1),
            sync_to_async(cache.get)("c"),
            asyncio.to_thread(cache.get, "d"),
        )
        return HttpResponse()

    response = asyncio.run(CacheMonitoringMiddleware(view)(RequestFactory().get("/")))
    assert said(response)["cache"] == "4 calls, 0 hits, 3 misses"


def test_async_cache__of_its_own_kind_is_counted_once(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.AsyncCache", "LOCATION": "async"}}

    async def view(request: HttpRequest) -> HttpResponse:
        await cache.aset("a", 0)
        assert await cache.aget("a", 0) == 0
        assert await cache.aget("b", "none") == "none"
        assert await cache.aget_many(["a", "b"]) == {"a": 0}
        assert await cache.aget_or_set("made", 1) == 1
        assert await cache.ahas_key("made")
        return HttpResponse()

    response = asyncio.run(CacheMonitoringMiddleware(view)(RequestFactory().get("/")))
    # aget_or_set is three; aget_many asks for each key, one after the other.
    assert said(response)["cache"] == "9 calls, 4 hits, 3 misses"


class AsyncCache(LocMemCache):
    """A cache with a way of its own to be awaited."""

    async def aget(self, key: Any, default: Any = None, version: Any = None) -> Any:
        await asyncio.sleep(0)
        return LocMemCache.get(self, key, default, version)

    async def ahas_key(self, key: Any, version: Any = None) -> bool:
        return bool(self.has_key(key, version))
