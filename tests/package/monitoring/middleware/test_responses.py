"""Responses of every kind: streams, errors, a header that is there; who gets the header, and what is logged."""

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client

from tests.package.monitoring.middleware.conftest import get, said
from users.models import CustomUser
from warmer.stores.instrumentation import observer

pytestmark = pytest.mark.usefixtures("own_jobs")


def test_stream__is_logged_when_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    def view(request: HttpRequest) -> StreamingHttpResponse:
        cache.get_many(["a"])
        cache.get("a")
        return StreamingHttpResponse(iter([str(cache.get("late")).encode()]))

    response = get(view)
    assert "default: 3 calls, 0 hits, 3 misses" in caplog.text
    assert b"".join(response) == b"None"
    assert len(caplog.records) == 1


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


def pages(path: str, *clients: AsyncClient) -> list[Any]:
    """Return what each is given, all at once under ASGI."""

    async def ask() -> list[Any]:
        responses = await asyncio.gather(*(client.get(path) for client in clients))
        await sync_to_async(connections.close_all)()  # those of the thread in which the views ran
        return responses

    return asyncio.run(ask())


@pytest.mark.django_db(transaction=True)
def test_site__under_wsgi_and_asgi() -> None:
    Client().get("/")
    assert said(Client().get("/")) == {"cache": "1 call, 1 hit, 0 misses"}
    for response in pages("/", *(AsyncClient() for _ in range(5))):
        assert said(response) == {"cache": "1 call, 1 hit, 0 misses"}


def signed_in(**fields: Any) -> Client:
    client = Client()
    client.force_login(CustomUser.objects.create_user(username="someone", email="a@example.org", **fields))
    return client


@pytest.mark.django_db(transaction=True)
def test_staff__sees_the_header_if_the_page_loads_the_user(settings: Any) -> None:
    settings.WARMER_SERVER_TIMING = False
    staff = signed_in(is_staff=True)
    response = staff.get("/admin/")
    assert "cache" in said(response)
    assert "Cookie" in response["Vary"]
    client = AsyncClient()
    client.cookies = staff.cookies
    assert "cache" in said(*pages("/admin/", client))


@pytest.mark.django_db(transaction=True)
def test_visitor__does_not_see_the_header(settings: Any, django_assert_num_queries: Any) -> None:
    settings.WARMER_SERVER_TIMING = False
    visitor = signed_in()
    assert "Server-Timing" not in visitor.get("/admin/", follow=True)
    for client in (visitor, Client()):
        assert "Server-Timing" not in client.get("/")
        with django_assert_num_queries(0):  # no page loads a user for its header
            client.get("/")


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
