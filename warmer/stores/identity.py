"""Determine from `CACHES`, without connecting, whether two aliases are the same cache."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, copy_context
from importlib.util import find_spec
from os import PathLike
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import default_key_func
from django.db import connections

from warmer.report import describe

HAS_REDIS = find_spec("redis") is not None
if HAS_REDIS:
    from redis.connection import parse_url

DUMMY = "django.core.cache.backends.dummy.DummyCache"
DEFAULT_KEY_FUNCTION = "django.core.cache.backends.base.default_key_func"
# A name of a tenant, schema or language that no project has.
_ELSEWHERE = "warmer-check"
# The backends also accept a string with one or several servers.
_BETWEEN_SERVERS = re.compile("[;,]")
_REDIS_URL = re.compile("(redis|rediss|unix|valkey|valkeys)://")


def share_keys(one: str, other: str) -> bool:
    """Return whether two aliases of `CACHES` store a key in the same place, under the same name.

    Based on the settings only: two different addresses of one server are not recognized as the same.
    """
    keeps_nothing = DUMMY in (settings.CACHES[one]["BACKEND"], settings.CACHES[other]["BACKEND"])
    return one == other or (not keeps_nothing and place_of(one) == place_of(other))


def place_of(alias: str) -> str:
    """Return a string that identifies where an alias of `CACHES` stores its keys, and under which names."""
    cache = settings.CACHES[alias]
    function = cache.get("KEY_FUNCTION") or DEFAULT_KEY_FUNCTION
    if callable(function):
        function = f"{function.__module__}.{function.__qualname__}"
    names = (str(cache.get("KEY_PREFIX") or ""), str(cache.get("VERSION", 1)), function)
    return repr((*names, _place(cache)))


def varying_names(alias: str) -> tuple[str, str] | None:
    """Return two names that a cache's `KEY_FUNCTION` gives one key, depending on the caller; None: one name.

    The key is made twice: for the current caller, and for a caller in another context (with every context
    variable of every module changed) and in another database schema (as django-tenants sets it).
    """
    cache = caches[alias]
    if cache.key_func is default_key_func:
        return None
    here, there = _made(cache), copy_context().run(_made_elsewhere, cache, list(connections.all()))
    return None if here == there else (here, there)


def name_here(alias: str) -> str:
    """Return the name of a key for the current caller, e.g. its tenant; useful only for comparison."""
    if not settings.CACHES[alias].get("KEY_FUNCTION"):
        return ""
    try:
        return _made(caches[alias])
    except Exception:  # noqa: BLE001 - a backend's own, at its settings
        return ""


def _made_elsewhere(cache: Any, databases: Iterable[Any]) -> str:
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if type(value) is ContextVar:  # `isinstance` would evaluate a lazy object
                value.set(_ELSEWHERE)
    schemas = {each: each.schema_name for each in databases if "schema_name" in vars(each)}
    try:
        for each in schemas:
            each.schema_name = _ELSEWHERE  # in this thread only
        return _made(cache)
    finally:
        for each, schema in schemas.items():
            each.schema_name = schema


def _made(cache: Any) -> str:
    try:
        return str(cache.make_key("key"))
    except Exception as error:  # noqa: BLE001 - a project's own function, e.g. where there is no tenant
        return describe(error)


def _place(cache: Mapping[str, Any]) -> Any:
    location = cache.get("LOCATION") or ""
    if isinstance(location, str | PathLike):
        location = _BETWEEN_SERVERS.split(str(location))
    servers = [str(server).strip() for server in location]
    if HAS_REDIS and servers and _REDIS_URL.match(servers[0]):
        # The first is the primary; the others are its replicas.
        return _redis_place(servers[0], cache.get("OPTIONS") or {})
    # Backends of one kind, such as the two for memcached, are in one module.
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
