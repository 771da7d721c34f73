"""Requests through the middleware, on caches of every kind, and what it says of them: here to everyone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from warmer.monitoring.middleware import CacheMonitoringMiddleware

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
View = Callable[[HttpRequest], Any]


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


@pytest.fixture(autouse=True)
def _shown_to_everyone_and_logged(settings: Any) -> None:
    settings.WARMER_SERVER_TIMING = True
    settings.WARMER_LOG_CACHE_CALLS = 1


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
