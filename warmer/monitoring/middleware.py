"""Middleware that counts how each request uses the caches, reports it in a header, and logs heavy use."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.cache import caches
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import escape_uri_path

from warmer.conf import conf
from warmer.stores.instrumentation import CacheUse, called, looked_up, observer

logger = logging.getLogger(__name__)

HEADER = "Server-Timing"
# Each is one call to a server. The last line is for django-redis; its sets, hashes and so on do not count.
CALLS = (
    *("get", "get_many", "has_key", "add", "set", "set_many", "touch"),
    *("delete", "delete_many", "incr", "decr", "clear"),
    *("ttl", "pttl", "expire", "pexpire", "expire_at", "pexpire_at", "persist", "keys", "delete_pattern"),
)
MISSING = object()


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
        with _counting(request) as use:
            response = self._get_response(request)
        return _with_header(request, response, use)

    async def _serve(self, request: HttpRequest) -> Any:
        with _counting(request) as use:
            response = await self._get_response(request)
        return _with_header(request, response, use)


@contextmanager
def _counting(request: HttpRequest) -> Iterator[CacheUse]:
    """Count the calls of this context and of what it starts, and log heavy use, also if it raises."""
    _instrument_all()  # also the caches that this thread had before the middleware was created
    use = CacheUse()
    token = observer.set(use)
    try:
        yield use
    finally:
        observer.reset(token)
        longest = conf.LOG_CACHE_TIME.total_seconds()
        if 0 < longest < use.total.seconds or 0 < conf.LOG_CACHE_CALLS < use.total.calls:
            logger.warning(
                "%s %s spent %.3f s in the caches: %s",
                request.method,
                escape_uri_path(request.path),
                use.total.seconds,
                "; ".join(f"{alias}: {each}" for alias, each in sorted(use.by_alias.items())),
            )


def _with_header(request: HttpRequest, response: HttpResponseBase, use: CacheUse) -> HttpResponseBase:
    """Add the header for staff, or for everyone."""
    # Django keeps the user that a view loaded under these names. `request.user` would load it for the header
    # alone: a query per page, and a wait if the database hangs.
    users = (getattr(request, name, None) for name in ("_cached_user", "_acached_user"))
    if conf.SERVER_TIMING or any(getattr(user, "is_staff", False) for user in users):
        timing = f'cache;dur={use.total.seconds * 1000:.1f};desc="{use.total}"'
        response[HEADER] = f"{response[HEADER]}, {timing}" if HEADER in response else timing
    return response


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
    """Wrap the methods of a cache object, not of its class. Django's async ones call these in a thread."""
    if not hasattr(cache, "warmer_instruments"):
        cache.warmer_instruments = True
        for name in CALLS:
            if hasattr(cache, name):
                setattr(cache, name, _counted(getattr(cache, name), name, alias))
    return cache


def _counted(method: Callable[..., Any], name: str, alias: str) -> Callable[..., Any]:
    """Return a method of a cache that counts its calls, and the keys that it looks up."""

    def get(key: Any, default: Any = None, *args: Any, **kwargs: Any) -> Any:
        with called(alias):
            answer = method(key, MISSING, *args, **kwargs)
        looked_up(alias, keys=1, found=int(answer is not MISSING))
        return default if answer is MISSING else answer

    def get_many(keys: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        wanted = list(keys)
        with called(alias):
            answer = method(wanted, *args, **kwargs)
        looked_up(alias, keys=len(set(wanted)), found=len(answer or ()))
        return answer

    def has_key(*args: Any, **kwargs: Any) -> Any:
        with called(alias):
            answer = method(*args, **kwargs)
        looked_up(alias, keys=1, found=int(bool(answer)))
        return answer

    def other(*args: Any, **kwargs: Any) -> Any:
        with called(alias):
            return method(*args, **kwargs)

    lookups: dict[str, Callable[..., Any]] = {"get": get, "get_many": get_many, "has_key": has_key}
    return functools.wraps(method)(lookups.get(name, other))
