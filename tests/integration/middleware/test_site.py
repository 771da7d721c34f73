"""Who sees the header, on the pages of the project."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from tests.integration.middleware.counting import said
from users.models import CustomUser
from warmer.monitoring.middleware import CacheMonitoringMiddleware

pytestmark = pytest.mark.usefixtures("own_jobs")


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
