"""Middleware that counts how each request uses the caches, reports it in a header, and logs heavy use."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any, ClassVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.encoding import escape_uri_path

from warmer.conf import conf
from warmer.report import describe
from warmer.stores.instrumentation import CacheUse, Use, called, looked_up, observer

logger = logging.getLogger(__name__)

HEADER = "Server-Timing"
_NOT_IN_TOKEN = re.compile(r"[^\w.-]", re.ASCII)
# Each is one call to a server. The last line is for django-redis; its sets, hashes and so on do not count.
CALLS = (
    *("get", "get_many", "has_key", "add", "set", "set_many", "touch"),
    *("delete", "delete_many", "incr", "decr", "clear"),
    *("ttl", "pttl", "expire", "pexpire", "expire_at", "pexpire_at", "persist", "keys", "delete_pattern"),
)
MISSING, END = object(), object()
# How long to load no user for the header after that failed. Otherwise each page would wait for a hanging
# database, and log it.
REST_SECONDS = 10.0


class CacheMonitoringMiddleware:
    """Count a request's calls, hits, misses and time, for every Django cache and the stores' own calls.

    Put it before the middleware that uses a cache, such as `SessionMiddleware`.
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
        observed = _Request(request)
        with observed.counting():
            response: HttpResponseBase = self._get_response(request)
        return observed.finish(response, for_staff=observed.needs_user and _is_staff(request))

    async def _serve(self, request: HttpRequest) -> Any:
        observed = _Request(request)
        with observed.counting():
            response: HttpResponseBase = await self._get_response(request)
        for_staff = observed.needs_user and await sync_to_async(_is_staff)(request)
        return observed.finish(response, for_staff=for_staff)


class _Request:
    """One request and its use of the caches.

    Attributes:
        users_rest_until: until when no user is loaded for the header, as `time.monotonic()`.
    """

    users_rest_until: ClassVar[float] = -inf

    def __init__(self, request: HttpRequest) -> None:
        _instrument_all()  # also the caches that this thread had before the middleware was created
        self._request = request
        self._use = CacheUse()
        self._is_logged = False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the calls of this context and of what it starts. If it raises, log heavy use first."""
        token = observer.set(self._use)
        try:
            yield
        except BaseException:
            self.log()
            raise
        finally:
            observer.reset(token)

    @property
    def needs_user(self) -> bool:
        """Whether the header depends on the user. Without a session there is no user."""
        has_session = settings.SESSION_COOKIE_NAME in self._request.COOKIES
        is_resting = monotonic() < self.users_rest_until
        return not conf.SERVER_TIMING and has_session and not is_resting and hasattr(self._request, "user")

    def finish(self, response: HttpResponseBase, *, for_staff: bool) -> HttpResponseBase:
        """Add the header, and log heavy use; for a stream, when it is closed."""
        if conf.SERVER_TIMING or for_staff:
            earlier = [response[HEADER]] if HEADER in response else []
            response[HEADER] = ", ".join([*earlier, *_timings(self._use)])
            if for_staff:
                patch_vary_headers(response, ("Cookie",))
        # A file's content does not come from a cache, and the server may send it itself.
        is_file = getattr(response, "file_to_stream", None) is not None
        if not isinstance(response, StreamingHttpResponse) or is_file:
            self.log()
            return response
        parts: Any = response.streaming_content
        response.streaming_content = self._async_parts(parts) if response.is_async else self._parts(parts)
        close = response.close

        def close_and_log() -> None:
            close()
            self.log()

        response.close = close_and_log  # type: ignore[method-assign]
        return response

    def log(self) -> None:
        """Log the request once, if it exceeded a threshold."""
        total, longest = self._use.total, conf.LOG_CACHE_TIME.total_seconds()
        is_heavy = 0 < longest < total.seconds or 0 < conf.LOG_CACHE_CALLS < total.calls
        if is_heavy and not self._is_logged:
            logger.warning(
                "%s %s spent %.3f s in the caches: %s",
                self._request.method,
                escape_uri_path(self._request.path),
                total.seconds,
                "; ".join(f"{alias}: {use}" for alias, use in sorted(self._use.by_alias.items())),
            )
        self._is_logged = True

    def _parts(self, parts: Any) -> Iterator[Any]:
        """Yield the parts of a response. Other work of the thread in between does not count."""
        source = iter(parts)
        while True:
            with self.counting():
                part = next(source, END)
            if part is END:
                return
            yield part

    async def _async_parts(self, parts: Any) -> AsyncIterator[Any]:
        source = aiter(parts)
        while True:
            with self.counting():
                part = await anext(source, END)
            if part is END:
                return
            yield part


def _instrument_all() -> None:
    """Wrap every cache of this process, once: the existing ones of this thread, and all future ones."""
    handler: Any = caches
    create = handler.create_connection
    if not hasattr(create, "warmer_instruments"):

        @functools.wraps(create)
        def create_connection(alias: str) -> Any:
            return _instrument(create(alias), alias)

        create_connection.warmer_instruments = True  # type: ignore[attr-defined]
        handler.create_connection = create_connection
    for alias in handler:
        if hasattr(handler._connections, alias):
            _instrument(handler[alias], alias)


def _instrument(cache: Any, alias: str) -> Any:
    """Wrap the methods of a cache object, not of its class."""
    if not hasattr(cache, "warmer_instruments"):
        cache.warmer_instruments = True
        for name in CALLS:
            own = f"a{name}"  # Django's own calls the other in a thread, where it is counted
            if getattr(type(cache), own, None) is not getattr(BaseCache, own, None):
                setattr(cache, own, _counted(getattr(cache, own), name, alias, is_async=True))
            if hasattr(cache, name):
                setattr(cache, name, _counted(getattr(cache, name), name, alias, is_async=False))
    return cache


# The arguments of a lookup as they are passed on, with the default that the caller gave. `get` gets a unique
# one, because `get("n", 0)` also returns 0 for a cached 0.
PASSED_ON: dict[str, Callable[..., Any]] = {
    "get": lambda key, default=None, *args, **kwargs: ((key, MISSING, *args), kwargs, default),
    "get_many": lambda keys, *args, **kwargs: ((list(keys), *args), kwargs, None),
    "has_key": lambda *args, **kwargs: (args, kwargs, None),
}


def _counted(method: Callable[..., Any], name: str, alias: str, *, is_async: bool) -> Callable[..., Any]:
    """Return a method of a cache that counts its calls, and the keys that it looks up."""
    passed_on = PASSED_ON.get(name, PASSED_ON["has_key"])

    @functools.wraps(method)
    def counted(*args: Any, **kwargs: Any) -> Any:
        if observer.get() is None:
            return method(*args, **kwargs)
        args, kwargs, default = passed_on(*args, **kwargs)
        with called(alias):
            answer = method(*args, **kwargs)
        return settled(answer, args, default)

    @functools.wraps(method)
    async def acounted(*args: Any, **kwargs: Any) -> Any:
        if observer.get() is None:
            return await method(*args, **kwargs)
        args, kwargs, default = passed_on(*args, **kwargs)
        with called(alias):
            answer = await method(*args, **kwargs)
        return settled(answer, args, default)

    def settled(answer: Any, args: Any, default: Any) -> Any:
        if name == "get":
            looked_up(alias, keys=1, found=int(answer is not MISSING))
            return default if answer is MISSING else answer
        if name == "get_many":
            looked_up(alias, keys=len(set(args[0])), found=len(answer or ()))
        elif name == "has_key":
            looked_up(alias, keys=1, found=int(bool(answer)))
        return answer

    return acounted if is_async else counted


def _timings(use: CacheUse) -> Iterator[str]:
    """Yield the entries of the header: for all caches together, then for each if there are several."""
    yield _timing("cache", use.total)
    if len(use.by_alias) > 1:
        for alias, each in sorted(use.by_alias.items()):
            yield _timing(f"cache-{_NOT_IN_TOKEN.sub('_', alias)}", each)


def _timing(name: str, use: Use) -> str:
    return f'{name};dur={use.seconds * 1000:.1f};desc="{use}"'


def _is_staff(request: Any) -> bool:
    """Return whether the user is staff. If the view did not load its user, this costs a query."""
    try:
        # An async view stores its loaded user only under this name.
        user = getattr(request, "_acached_user", None) or request.user
        return bool(getattr(user, "is_staff", False))
    except Exception as error:  # noqa: BLE001 - a page that was made is not lost for its header
        _Request.users_rest_until = monotonic() + REST_SECONDS
        logger.warning(
            "Cannot load the user, so no response gets the header %s for %g s: %s",
            *(HEADER, REST_SECONDS, describe(error)),
        )
        return False
