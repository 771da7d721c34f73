"""Have the caches of Django say what is asked of them, and do all else as before.

The methods of each cache object are put behind ones of ours, on the object and not on its class. They hand
the call on, and tell the observer of the context (see `warmer.stores.instrumentation`), if there is one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

from warmer.stores.instrumentation import called, looked, looks, observer

# Each is one call to a server. The last lines are those of django-redis that are; its sets, hashes and
# the like are not counted.
CALLS = (
    *("add", "set", "set_many", "touch", "delete", "delete_many", "incr", "decr", "clear"),
    *("ttl", "pttl", "expire", "pexpire", "expire_at", "pexpire_at", "persist", "keys", "delete_pattern"),
)
# Django's own are made of several calls, which are counted each.
MADE_OF_CALLS = ("incr_version", "decr_version")
MISSING = object()


class _Call:
    """A call as it is handed on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def settle(self, answer: Any, alias: str) -> Any:
        """Say what the answer tells; return what the caller gets."""
        return answer


class _Get(_Call):
    def __init__(self, key: Any, default: Any = None, *args: Any, **kwargs: Any) -> None:
        # With a default that nobody caches: `get("n", 0)` says 0 of a key that is there, too.
        super().__init__(key, MISSING, *args, **kwargs)
        self._default = default

    def settle(self, answer: Any, alias: str) -> Any:
        looked(alias, asked=1, found=int(answer is not MISSING))
        return self._default if answer is MISSING else answer


class _GetMany(_Call):
    def __init__(self, keys: Any, *args: Any, **kwargs: Any) -> None:
        keys = list(keys)
        super().__init__(keys, *args, **kwargs)
        self._asked = len(set(keys))

    def settle(self, answer: Any, alias: str) -> Any:
        looked(alias, asked=self._asked, found=len(answer or ()))
        return answer


class _HasKey(_Call):
    def settle(self, answer: Any, alias: str) -> Any:
        looked(alias, asked=1, found=int(bool(answer)))
        return answer


KINDS: dict[str, type[_Call]] = {
    "get": _Get,
    "get_many": _GetMany,
    "has_key": _HasKey,
    **dict.fromkeys((*CALLS, *MADE_OF_CALLS), _Call),
}


def instrument_caches() -> None:
    """Have every cache of this process say what is asked of it: those that are there in this thread, and
    those that will be made. Of use as often as one likes."""
    handler: Any = caches
    if not hasattr(handler.create_connection, "warmer_instruments"):
        handler.create_connection = _instrumented(handler.create_connection)
    for alias in handler:
        if hasattr(handler._connections, alias):
            _instrument(handler[alias], alias)


def _instrumented(create: Callable[[str], Any]) -> Callable[[str], Any]:
    @functools.wraps(create)
    def create_connection(alias: str) -> Any:
        return _instrument(create(alias), alias)

    create_connection.warmer_instruments = True  # type: ignore[attr-defined]
    return create_connection


def _instrument(cache: Any, alias: str) -> Any:
    if hasattr(cache, "warmer_instruments"):
        return cache
    cache.warmer_instruments = True
    for name, kind in KINDS.items():
        if not hasattr(cache, name) or (name in MADE_OF_CALLS and _is_djangos(cache, name)):
            continue
        setattr(cache, name, _told(getattr(cache, name), kind, alias))
        if not _is_djangos(cache, f"a{name}"):  # Django's own calls the method above, in a thread
            setattr(cache, f"a{name}", _told_async(getattr(cache, f"a{name}"), kind, alias))
    cache.get_or_set = _told_once(cache.get_or_set)
    cache.aget_or_set = _told_once_async(cache.aget_or_set)
    return cache


def _is_djangos(cache: BaseCache, name: str) -> bool:
    """Say whether a backend leaves a method as Django's base class has it, or has none of that name."""
    return getattr(type(cache), name, None) is getattr(BaseCache, name, None)


def _told(method: Callable[..., Any], kind: type[_Call], alias: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def told(*args: Any, **kwargs: Any) -> Any:
        if observer.get() is None:
            return method(*args, **kwargs)
        call = kind(*args, **kwargs)
        with called(alias):
            answer = method(*call.args, **call.kwargs)
        return call.settle(answer, alias)

    return told


def _told_async(method: Callable[..., Any], kind: type[_Call], alias: str) -> Callable[..., Any]:
    @functools.wraps(method)
    async def told(*args: Any, **kwargs: Any) -> Any:
        if observer.get() is None:
            return await method(*args, **kwargs)
        call = kind(*args, **kwargs)
        with called(alias):
            answer = await method(*call.args, **call.kwargs)
        return call.settle(answer, alias)

    return told


def _told_once(get_or_set: Callable[..., Any]) -> Callable[..., Any]:
    """Count one look: on a miss Django looks again at the end, for what it has just stored."""

    @functools.wraps(get_or_set)
    def told(key: Any, default: Any, *args: Any, **kwargs: Any) -> Any:
        default = _watched(default)
        with looks(at_most=1):
            return get_or_set(key, default, *args, **kwargs)

    return told


def _told_once_async(aget_or_set: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(aget_or_set)
    async def told(key: Any, default: Any, *args: Any, **kwargs: Any) -> Any:
        default = _watched(default)
        with looks(at_most=1):
            return await aget_or_set(key, default, *args, **kwargs)

    return told


def _watched(default: Any) -> Any:
    """Have what a default looks for itself counted as usual."""
    watching = observer.get()
    if watching is None or not callable(default):
        return default

    @functools.wraps(default)
    def called_by_itself() -> Any:
        token = observer.set(watching)
        try:
            return default()
        finally:
            observer.reset(token)

    return called_by_itself
