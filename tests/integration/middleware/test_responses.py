"""Responses of every kind: streams to their end, files, errors, a header that is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from tests.integration.middleware.counting import get, said
from warmer.monitoring.middleware import CacheMonitoringMiddleware
from warmer.stores.instrumentation import observer

pytestmark = pytest.mark.usefixtures("own_jobs")


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
