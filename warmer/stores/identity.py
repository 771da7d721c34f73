"""Which caches are one place: what `CACHES` says of two aliases, compared without a connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from os import PathLike
from typing import Any

from django.conf import settings

if find_spec("redis"):
    from redis.connection import parse_url

    HAS_REDIS = True
else:  # pragma: no cover - the test environment has it
    HAS_REDIS = False

DUMMY = "django.core.cache.backends.dummy.DummyCache"
DEFAULT_KEY_FUNCTION = "django.core.cache.backends.base.default_key_func"
# The backends also take a string with one or several servers.
_BETWEEN_SERVERS = re.compile("[;,]")
_REDIS_URL = re.compile("(redis|rediss|unix|valkey|valkeys)://")


def share_keys(one: str, other: str) -> bool:
    """Return whether two aliases of `CACHES` keep a key in the same place, under the same name.

    Read from the settings alone: two addresses of one server by different names are not known for one.
    """
    if one == other:
        return True
    mine, theirs = settings.CACHES[one], settings.CACHES[other]
    if DUMMY in (mine["BACKEND"], theirs["BACKEND"]):
        return False  # it keeps nothing
    return _names(mine) == _names(theirs) and _place(mine) == _place(theirs)


def place_of(alias: str) -> str:
    """Return a string that identifies where an alias of `CACHES` keeps its keys, and under which names."""
    cache = settings.CACHES[alias]
    *names, function = _names(cache)
    if callable(function):
        function = f"{function.__module__}.{function.__qualname__}"
    return repr((cache["BACKEND"], *names, function, _place(cache)))


def _names(cache: Mapping[str, Any]) -> tuple[str, str, Any]:
    """Return what a cache makes of a key."""
    return (
        str(cache.get("KEY_PREFIX") or ""),
        str(cache.get("VERSION", 1)),
        cache.get("KEY_FUNCTION") or DEFAULT_KEY_FUNCTION,
    )


def _place(cache: Mapping[str, Any]) -> Any:
    location = cache.get("LOCATION") or ""
    if isinstance(location, str | PathLike):
        location = _BETWEEN_SERVERS.split(str(location))
    servers = [str(server).strip() for server in location]
    if HAS_REDIS and servers and _REDIS_URL.match(servers[0]):
        # The first is the primary; the others are its replicas.
        return _redis_place(servers[0], cache.get("OPTIONS") or {})
    # The backends of one kind, as the two for memcached, are in one module.
    return cache["BACKEND"].rpartition(".")[0], sorted(servers)


def _redis_place(url: str, options: Mapping[str, Any]) -> Any:
    try:
        parts: Any = parse_url(re.sub("^valkey", "redis", url))  # type: ignore[no-untyped-call]
    except ValueError:
        return url
    database = parts.get("db", {**options, **(options.get("CONNECTION_POOL_KWARGS") or {})}.get("db"))
    server = parts.get("path") or (str(parts.get("host", "localhost")).lower(), parts.get("port", 6379))
    sentinels = sorted(map(str, options.get("SENTINELS") or ()))
    return server, int(database or 0), sentinels
