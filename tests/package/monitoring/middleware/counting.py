"""Requests through the middleware, and what it says of them."""

import re
from collections.abc import Callable
from typing import Any

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
