"""Middleware of the site in the browser tests."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from warmer.admin import questions

POLICY = "default-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'"


class StrictPolicy:
    """Send a strict Content-Security-Policy: no script, style or frame but those of the site's own files."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response


class FreshAnswers:
    """Make every page ask the servers, even just after another did."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        questions.SHARED_SECONDS = 0.0
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)
