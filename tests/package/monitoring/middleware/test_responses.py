"""Responses of every kind: streams to their end, files, errors, a header that is there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import connections
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory

from tests.package.monitoring.middleware.conftest import get, said
from users.models import CustomUser
from warmer.monitoring import middleware
from warmer.monitoring.middleware import CacheMonitoringMiddleware
from warmer.stores.instrumentation import observer

pytestmark = pytest.mark.usefixtures("own_jobs")


def test_stream__is_counted_to_its_end(any_cache: str, caplog: pytest.LogCaptureFixture) -> None:
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


def test_stream__that_nobody_reads_ends_with_its_response(caplog: pytest.LogCaptureFixture) -> None:
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


def test_stream__that_breaks_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def parts() -> Iterator[bytes]:
        yield b"part"
        cache.get_many(["a"])
        cache.get("a")
        raise ZeroDivisionError

    response = get(lambda request: StreamingHttpResponse(parts()))
    with pytest.raises(ZeroDivisionError):
        list(response)
    response.close()
    assert [message.partition(" spent")[0] for message in caplog.messages] == ["GET /page"]


def test_stream__of_an_async_view(caplog: pytest.LogCaptureFixture) -> None:
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


def test_exception__of_the_view_is_raised_and_logged(caplog: pytest.LogCaptureFixture) -> None:
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


def front_pages(*clients: AsyncClient) -> list[Any]:
    """Return what each is given, all at once under ASGI."""

    async def ask() -> list[Any]:
        responses = await asyncio.gather(*(client.get("/") for client in clients))
        await sync_to_async(connections.close_all)()  # those of the thread in which the views ran
        return responses

    return asyncio.run(ask())


@pytest.mark.django_db(transaction=True)
def test_site__under_wsgi_and_asgi() -> None:
    Client().get("/")
    assert said(Client().get("/")) == {"cache": "1 call, 1 hit, 0 misses"}
    for response in front_pages(*(AsyncClient() for _ in range(5))):
        assert said(response) == {"cache": "1 call, 1 hit, 0 misses"}


def signed_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(CustomUser.objects.create_user(username="someone", email="a@example.org", **fields))
    return client


@pytest.mark.django_db(transaction=True)
def test_staff__sees_the_header(settings: Any) -> None:
    settings.WARMER_SERVER_TIMING = False
    staff = signed_in(is_staff=True)
    for path in ("/", "/admin/"):
        response = staff.get(path)
        assert "cache" in said(response)
        assert "Cookie" in response["Vary"]
    client = AsyncClient()
    client.cookies = staff.cookies
    (response,) = front_pages(client)
    assert "cache" in said(response)


@pytest.mark.django_db(transaction=True)
def test_visitor__does_not_see_the_header(settings: Any, django_assert_num_queries: Any) -> None:
    settings.WARMER_SERVER_TIMING = False
    assert "Server-Timing" not in signed_in().get("/")
    response = Client().get("/")
    assert "Server-Timing" not in response
    assert "Cookie" not in response.get("Vary", "")
    with django_assert_num_queries(0):
        Client().get("/")


def test_user__that_cannot_be_loaded_costs_no_page(
    settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_SERVER_TIMING = False
    loads, clock = [], [0.0]
    monkeypatch.setattr(middleware, "monotonic", lambda: clock[0])
    monkeypatch.setattr(middleware._Request, "users_rest_until", 0.0)

    class Broken:
        @property
        def is_staff(self) -> bool:
            loads.append(clock[0])
            raise OSError("the database is away")

    def view(request: Any) -> HttpResponse:
        request.user = Broken()
        return HttpResponse("made")

    request = RequestFactory().get("/")
    request.COOKIES[settings.SESSION_COOKIE_NAME] = "x"
    for clock[0] in (1000.0, 1009.0, 1011.0):
        response = CacheMonitoringMiddleware(view)(request)
        assert response.content == b"made"
    assert loads == [1000.0, 1011.0]  # otherwise each page would wait for a database that hangs
    assert caplog.text.count("the database is away") == 2


@pytest.mark.parametrize(
    ("most_calls", "longest", "calls", "is_logged"),
    [
        (5, timedelta(0), 5, False),
        (5, timedelta(0), 6, True),
        (0, timedelta(0), 200, False),
        (0, timedelta(microseconds=1), 1, True),
        (0, timedelta(microseconds=1), 0, False),
        (0, timedelta(hours=1), 5, False),
    ],
)
def test_log__over_a_threshold(
    most_calls: int, longest: timedelta, calls: int, is_logged: bool, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_LOG_CACHE_TIME, settings.WARMER_LOG_CACHE_CALLS = longest, most_calls

    def view(request: HttpRequest) -> HttpResponse:
        for number in range(calls):
            cache.get(str(number))
        return HttpResponse()

    get(view, "/a%0Aforged line/?token=s3cr3t")
    number = f"{calls} call{'s' if calls > 1 else ''}, 0 hits, {calls} miss{'es' if calls > 1 else ''}"
    line = rf"GET /a%0Aforged%20line/ spent \d\.\d{{3}} s in the caches: default: {number}"
    assert len(caplog.messages) == is_logged
    assert all(re.fullmatch(line, message) for message in caplog.messages)
