"""The middleware: what it counts of a request, in threads, tasks and streams, and where it says so."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.cache import cache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import connections
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.redis_server import RedisServer
from users.models import CustomUser
from warmer import warm, warm_many
from warmer.monitoring.middleware import CacheMonitoringMiddleware
from warmer.stores.observed import observer

pytestmark = pytest.mark.usefixtures("own_jobs")

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
View = Callable[[HttpRequest], Any]


@pytest.fixture(autouse=True)
def _told_to_everyone(settings: Any) -> None:
    settings.WARMER_SERVER_TIMING = True


@pytest.fixture(params=["redis", "locmem", "files"])
def any_cache(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    """Run a test on each kind of cache."""
    if request.param == "locmem":
        settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "monitoring"}}
    elif request.param == "files":
        backend = "django.core.cache.backends.filebased.FileBasedCache"
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": tmp_path}}
    cache.clear()
    return str(request.param)


def get(view: View, path: str = "/page", **request: Any) -> Any:
    """Return the response to a request to a view behind the middleware."""
    return CacheMonitoringMiddleware(view)(RequestFactory().get(path, **request))


def said(response: Any) -> dict[str, str]:
    """Return the descriptions in the header, by name."""
    return dict(re.findall(r'([\w.-]+);dur=\d+\.\d;desc="([^"]*)"', response["Server-Timing"]))


def counted(work: Callable[[], object]) -> str:
    """Return what is said of a view that does some work."""

    def view(request: HttpRequest) -> HttpResponse:
        work()
        return HttpResponse("done")

    return said(get(view))["cache"]


# -- what is counted -------------------------------------------------------------------------------
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
        (lambda: cache.get_or_set("none", 1), "3 calls, 0 hits, 1 miss"),
        (lambda: cache.get_or_set("none", lambda: cache.get("there")), "4 calls, 1 hit, 1 miss"),
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
    assert "told" not in vars(LocMemCache)


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


# -- what the stores ask of a server themselves ----------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_job__read_is_one_call(any_cache: str) -> None:
    things = warm_many("thing:{id}", name="things", ids=list)(lambda ids: {id: {"id": id} for id in ids})
    things.warm([1, 2, 3])
    assert counted(lambda: things.get(1)) == "1 call, 1 hit, 0 misses"
    assert counted(lambda: things.get_many([1, 2, 3])) == "1 call, 3 hits, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__warm_is_a_token_and_a_write_a_batch() -> None:
    things = warm_many("thing:{id}", name="things", ids=lambda: range(10), batch_size=5)(
        lambda ids: {id: {"id": id} for id in ids}
    )
    things.warm()  # so that the server knows the scripts
    assert counted(things.warm) == "4 calls, 0 hits, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__miss_is_one_miss_whatever_the_fence_needs(any_cache: str) -> None:
    thing = warm("thing", name="thing")(lambda: "value")
    found = counted(thing.get)
    assert found.endswith("0 hits, 1 miss")
    if any_cache == "redis":
        assert found.startswith("3 calls, ")  # look, claim, write
    assert counted(thing.get) == "1 call, 1 hit, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__absence_that_is_cached_is_a_hit(any_cache: str) -> None:
    none = warm("none", name="none", cache_absent=timedelta(minutes=1))(lambda: None)
    assert counted(none.get).endswith("0 hits, 1 miss")
    assert counted(none.get) == "1 call, 1 hit, 0 misses"


@pytest.mark.django_db(transaction=True)
def test_job__what_its_loader_looks_for_is_counted(any_cache: str) -> None:
    thing = warm("thing", name="thing")(lambda: cache.get("part", "nothing"))
    assert counted(thing.get).endswith("0 hits, 2 misses")


# -- who shares a process --------------------------------------------------------------------------
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
    assert said(response)["cache"] == "9 calls, 3 hits, 3 misses"


class AsyncCache(LocMemCache):
    """A cache with a way of its own to be awaited."""

    async def aget(self, key: Any, default: Any = None, version: Any = None) -> Any:
        await asyncio.sleep(0)
        return LocMemCache.get(self, key, default, version)

    async def ahas_key(self, key: Any, version: Any = None) -> bool:
        return bool(self.has_key(key, version))


# -- responses of every kind -----------------------------------------------------------------------
def test_stream__is_counted_to_its_end(
    any_cache: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 1

    def parts() -> Iterator[bytes]:
        for number in range(3):
            cache.get(str(number))
            yield b"part"

    def view(request: HttpRequest) -> StreamingHttpResponse:
        cache.set("first", 1)
        return StreamingHttpResponse(parts())

    response = get(view)
    assert said(response)["cache"] == "1 call, 0 hits, 0 misses"  # the header is there before the parts
    assert not caplog.records
    body = []
    for part in response:
        body.append(part)
        assert observer.get() is None  # between the parts the thread may serve others
        cache.get("another_requests")
    response.close()
    assert body == [b"part"] * 3
    assert "default: 4 calls, 0 hits, 3 misses" in caplog.text
    assert len(caplog.records) == 1


def test_stream__that_nobody_reads_ends_with_its_response(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 1
    closed = []

    class Parts:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"part"])

        def close(self) -> None:
            closed.append(True)

    def view(request: HttpRequest) -> StreamingHttpResponse:
        cache.get_many(["a"])
        cache.get("a")
        return StreamingHttpResponse(Parts())

    get(view).close()
    assert "default: 2 calls" in caplog.text
    assert closed == [True]


def test_stream__of_an_async_view(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 1

    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            await cache.aget(str(number))
            yield b"part"

    async def view(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(parts())

    async def read() -> list[bytes]:
        response = await CacheMonitoringMiddleware(view)(RequestFactory().get("/"))
        body = []
        async for part in response:
            body.append(part)
            assert observer.get() is None
        response.close()
        return body

    assert asyncio.run(read()) == [b"part"] * 3
    assert "default: 3 calls, 0 hits, 3 misses" in caplog.text


def test_file__is_left_to_the_server(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("content")
    response = get(lambda request: FileResponse(file.open("rb")))
    assert response.file_to_stream is not None
    assert b"".join(response) == b"content"
    response.close()


def test_exception__of_the_view_is_raised_and_logged(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 1

    def view(request: HttpRequest) -> HttpResponse:
        cache.get("a")
        cache.get("b")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        get(view)
    assert "GET /page spent" in caplog.text
    assert observer.get() is None


def test_header__joins_the_one_that_is_there() -> None:
    response = get(lambda request: HttpResponse(headers={"Server-Timing": "db;dur=1.0"}))
    assert response["Server-Timing"].startswith("db;dur=1.0, cache;dur=")


# -- the site --------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_site__page_says_what_it_asked() -> None:
    client = Client()
    client.get("/")
    response = client.get("/")
    assert said(response) == {"cache": "1 call, 1 hit, 0 misses"}


def front_pages(*clients: AsyncClient) -> list[Any]:
    """Return what each is given, all at once under ASGI."""

    async def ask() -> list[Any]:
        responses = await asyncio.gather(*(client.get("/") for client in clients))
        await sync_to_async(connections.close_all)()  # those of the thread in which the views ran
        return responses

    return asyncio.run(ask())


@pytest.mark.django_db(transaction=True)
def test_site__under_asgi() -> None:
    Client().get("/")
    for response in front_pages(*(AsyncClient() for _ in range(5))):
        assert said(response) == {"cache": "1 call, 1 hit, 0 misses"}


@pytest.fixture
def staff(settings: Any) -> Client:
    settings.WARMER_SERVER_TIMING = False
    return signed_in(is_staff=True)


def signed_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(CustomUser.objects.create_user(username="someone", email="a@example.org", **fields))
    return client


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/", "/admin/"])
def test_staff__sees_the_header(staff: Client, path: str) -> None:
    response = staff.get(path)
    assert "cache" in said(response)
    assert "Cookie" in response["Vary"]


@pytest.mark.django_db(transaction=True)
def test_staff__sees_the_header_under_asgi(staff: Client) -> None:
    client = AsyncClient()
    client.cookies = staff.cookies
    (response,) = front_pages(client)
    assert "cache" in said(response)


@pytest.mark.django_db(transaction=True)
def test_visitor__does_not_see_the_header(settings: Any) -> None:
    settings.WARMER_SERVER_TIMING = False
    assert "Server-Timing" not in signed_in().get("/")
    response = Client().get("/")
    assert "Server-Timing" not in response
    assert "Cookie" not in response.get("Vary", "")


@pytest.mark.django_db(transaction=True)
def test_visitor__without_a_session_costs_no_query(
    settings: Any, django_assert_num_queries: Callable[[int], Any]
) -> None:
    settings.WARMER_SERVER_TIMING = False
    client = Client()
    client.get("/")
    with django_assert_num_queries(0):
        client.get("/")


def test_user__that_cannot_be_loaded_costs_no_page(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_SERVER_TIMING = False

    class Broken:
        @property
        def is_staff(self) -> bool:
            raise OSError("the database is away")

    def view(request: Any) -> HttpResponse:
        request.user = Broken()
        return HttpResponse("made")

    request = RequestFactory().get("/")
    request.COOKIES[settings.SESSION_COOKIE_NAME] = "x"
    response = CacheMonitoringMiddleware(view)(request)
    assert response.content == b"made"
    assert "the database is away" in caplog.text


# -- the log ---------------------------------------------------------------------------------------
def logged(caplog: pytest.LogCaptureFixture, calls: int, path: str = "/page") -> list[str]:
    def view(request: HttpRequest) -> HttpResponse:
        for number in range(calls):
            cache.get(str(number))
        return HttpResponse()

    caplog.clear()
    get(view, path)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return caplog.messages


def test_log__over_the_number_of_calls(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_TIME = timedelta(0)
    settings.WARMER_LOG_CACHE_CALLS = 5
    assert logged(caplog, 5) == []
    (line,) = logged(caplog, 6)
    assert re.fullmatch(
        r"GET /page spent \d\.\d{3} s in the caches: default: 6 calls, 0 hits, 6 misses", line
    )
    settings.WARMER_LOG_CACHE_CALLS = 0
    assert logged(caplog, 200) == []


def test_log__over_the_time(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 0
    settings.WARMER_LOG_CACHE_TIME = timedelta(microseconds=1)
    assert len(logged(caplog, 1)) == 1
    assert logged(caplog, 0) == []
    settings.WARMER_LOG_CACHE_TIME = timedelta(hours=1)
    assert logged(caplog, 5) == []


def test_log__is_one_line_without_the_query(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 1
    (line,) = logged(caplog, 2, "/a%0Aforged line/?token=s3cr3t")
    assert "\n" not in line
    assert "s3cr3t" not in line
    assert line.startswith("GET /a%0Aforged%20line/ spent ")
