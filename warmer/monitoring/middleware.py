"""Middleware that counts how each request uses the caches, says so in a header, and logs what is too much."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.encoding import escape_uri_path

from warmer.conf import conf
from warmer.monitoring.cache_calls import instrument_caches
from warmer.monitoring.counts import Counts, Use
from warmer.report import describe
from warmer.stores.instrumentation import observer

logger = logging.getLogger(__name__)

HEADER = "Server-Timing"
_NO_TOKEN = re.compile(r"[^\w.-]", re.ASCII)


class CacheMonitoringMiddleware:
    """Count a request's calls, hits, misses and time, over every cache of Django's and the stores' own.

    Put it before what uses a cache, such as `SessionMiddleware`.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Serve a request."""
        if self._is_async:
            return self._serve(request)
        watch = _Watch(request)
        try:
            with watch.counting():
                watch.response = self._get_response(request)
            if watch.needs_user:
                watch.is_for_staff = _is_staff(request)
        finally:
            watch.conclude()
        return watch.response

    async def _serve(self, request: HttpRequest) -> Any:
        watch = _Watch(request)
        try:
            with watch.counting():
                watch.response = await self._get_response(request)
            if watch.needs_user:
                watch.is_for_staff = await sync_to_async(_is_staff)(request)
        finally:
            watch.conclude()
        return watch.response


class _Watch:
    """One request, what it was seen to do, and what is said of it."""

    def __init__(self, request: HttpRequest) -> None:
        instrument_caches()  # also those that another thread had before the middleware was there
        self.request = request
        self.response: HttpResponseBase | None = None
        self.is_for_staff = False
        self._counts = Counts()
        self._is_logged = False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what this context does, and what it starts."""
        token = observer.set(self._counts)
        try:
            yield
        finally:
            observer.reset(token)

    @property
    def needs_user(self) -> bool:
        """Whether it takes the user to know who may see the header. Without a session there is none."""
        has_session = settings.SESSION_COOKIE_NAME in self.request.COOKIES
        return not conf.SERVER_TIMING and has_session and hasattr(self.request, "user")

    def conclude(self) -> None:
        """Add the header and log what was too much; of a stream, when its end is reached."""
        response = self.response
        if response is not None and (conf.SERVER_TIMING or self.is_for_staff):
            earlier = [response[HEADER]] if HEADER in response else []
            response[HEADER] = ", ".join([*earlier, *_timings(self._counts)])
            if self.is_for_staff:
                patch_vary_headers(response, ("Cookie",))
        # The content of a file comes from no cache, and the server may send it by itself.
        is_file = getattr(response, "file_to_stream", None) is not None
        if isinstance(response, StreamingHttpResponse) and not is_file:
            stream = _AsyncStream if response.is_async else _Stream
            response.streaming_content = stream(response.streaming_content, self)
        else:
            self.log()

    def log(self) -> None:
        """Log the request once, if it went over a threshold."""
        if self._is_logged:
            return
        self._is_logged = True
        total, longest = self._counts.total, conf.LOG_CACHE_TIME.total_seconds()
        if 0 < longest < total.seconds or 0 < conf.LOG_CACHE_CALLS < total.calls:
            logger.warning(
                "%s %s spent %.3f s in the caches: %s",
                self.request.method,
                escape_uri_path(self.request.path),
                total.seconds,
                "; ".join(f"{alias}: {use}" for alias, use in sorted(self._counts.uses.items())),
            )


class _Stream:
    """The parts of a response, made while the request is watched."""

    def __init__(self, parts: Any, watch: _Watch) -> None:
        self._parts = iter(parts)
        self._watch = watch

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> Any:
        # For each part anew: between them the thread may do other things.
        with self._watch.counting():
            return next(self._parts)

    def close(self) -> None:
        """End with the response, whether or not it was read to its end."""
        self._watch.log()


class _AsyncStream:
    """The same, of an asynchronous response."""

    def __init__(self, parts: Any, watch: _Watch) -> None:
        self._parts = aiter(parts)
        self._watch = watch

    def __aiter__(self) -> _AsyncStream:
        return self

    async def __anext__(self) -> Any:
        with self._watch.counting():
            return await anext(self._parts)

    def close(self) -> None:
        """End with the response, whether or not it was read to its end."""
        self._watch.log()


def _timings(counts: Counts) -> Iterator[str]:
    """Yield the entries of the header: all caches, then each, where there are several."""
    uses = counts.uses
    yield _timing("cache", counts.total)
    if len(uses) > 1:
        for alias, use in sorted(uses.items()):
            yield _timing(f"cache-{_NO_TOKEN.sub('_', alias)}", use)


def _timing(name: str, use: Use) -> str:
    return f'{name};dur={use.seconds * 1000:.1f};desc="{use}"'


def _is_staff(request: Any) -> bool:
    """Say whether staff asks. A page that did not ask so itself costs a query more, after it was counted."""
    try:
        # Where an async view has asked, it is known by that name only.
        user = getattr(request, "_acached_user", None) or request.user
        return bool(getattr(user, "is_staff", False))
    except Exception as error:  # noqa: BLE001 - a page that was made is not lost for its header
        logger.warning("It is not known who may see %s: %s", HEADER, describe(error))
        return False
