"""Wrap the methods of Django's caches, so that the counter of the context counts their calls.

They are wrapped on the cache object, not on its class. See `warmer.stores.instrumentation`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

from warmer.stores.instrumentation import called, looked_up, observer

# Each is one call to a server. The last line is for django-redis; its sets, hashes and so on do not count.
CALLS = (
    *("get", "get_many", "has_key", "add", "set", "set_many", "touch"),
    *("delete", "delete_many", "incr", "decr", "clear"),
    *("ttl", "pttl", "expire", "pexpire", "expire_at", "pexpire_at", "persist", "keys", "delete_pattern"),
)
MISSING = object()


class _Call:
    """The arguments of a call as passed on, and the meaning of its answer."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs
        if name == "get":
            self._get(*args, **kwargs)
        elif name == "get_many":
            self._get_many(*args, **kwargs)

    def _get(self, key: Any, default: Any = None, *args: Any, **kwargs: Any) -> None:
        self._default = default
        # With a unique default, because `get("n", 0)` also returns 0 for a cached 0.
        self.args, self.kwargs = (key, MISSING, *args), kwargs

    def _get_many(self, keys: Any, *args: Any, **kwargs: Any) -> None:
        keys = list(keys)
        self._keys = len(set(keys))
        self.args, self.kwargs = (keys, *args), kwargs

    def settle(self, answer: Any, alias: str) -> Any:
        """Count a lookup; return the result for the caller."""
        if self.name == "get":
            looked_up(alias, keys=1, found=int(answer is not MISSING))
            return self._default if answer is MISSING else answer
        if self.name == "get_many":
            looked_up(alias, keys=self._keys, found=len(answer or ()))
        elif self.name == "has_key":
            looked_up(alias, keys=1, found=int(bool(answer)))
        return answer


def instrument_caches() -> None:
    """Wrap every cache of this process: the existing ones of this thread, and all future ones.

    It may be called repeatedly.
    """
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
    if hasattr(cache, "warmer_instruments"):
        return cache
    cache.warmer_instruments = True
    for name in CALLS:
        if hasattr(cache, name):
            setattr(cache, name, _wrapped(getattr(cache, name), name, alias))
            if not _is_djangos(cache, f"a{name}"):  # Django's own calls the method above, in a thread
                setattr(cache, f"a{name}", _wrapped_async(getattr(cache, f"a{name}"), name, alias))
    return cache


def _is_djangos(cache: BaseCache, name: str) -> bool:
    """Return whether a backend inherits a method from Django's base class, or does not have it."""
    return getattr(type(cache), name, None) is getattr(BaseCache, name, None)


def _wrapped(method: Callable[..., Any], name: str, alias: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def counted(*args: Any, **kwargs: Any) -> Any:
        if observer.get() is None:
            return method(*args, **kwargs)
        call = _Call(name, *args, **kwargs)
        with called(alias):
            answer = method(*call.args, **call.kwargs)
        return call.settle(answer, alias)

    return counted


def _wrapped_async(method: Callable[..., Any], name: str, alias: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def counted(*args: Any, **kwargs: Any) -> Any:
        if observer.get() is None:
            return await method(*args, **kwargs)
        call = _Call(name, *args, **kwargs)
        with called(alias):
            answer = await method(*call.args, **call.kwargs)
        return call.settle(answer, alias)

    return counted
