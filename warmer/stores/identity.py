"""Identify a cache: whether two aliases, or two processes, use the same one, and which incarnation of it.

Two aliases are compared by their settings. Two processes may use different names for one server, so each
describes how it sees a cache: a server is identified by its address or by its own id, which changes after a
restart. Unknown means no difference.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import default_key_func
from django.db import connections

from warmer.exceptions import StoreUnavailable
from warmer.report import describe
from warmer.stores.breaker import breaker_of
from warmer.stores.factory import codec_at

if find_spec("redis"):
    from warmer.stores.redis.connections import address, disconnect_idle
    from warmer.stores.redis.store import connected

DUMMY = "django.core.cache.backends.dummy.DummyCache"
DEFAULT_KEY_FUNCTION = "django.core.cache.backends.base.default_key_func"
# A name of a tenant, schema or language that no project has.
_ELSEWHERE = "warmer-check"
# A key whose name is compared between processes.
KEY = "key"
_LOCAL = ("/", "127.", "localhost:", "::1:")
# Its nodes come and go, each with an id of its own.
_CLUSTER = "a Redis Cluster"


# -- two aliases ----------------------------------------------------------------------------------------
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
    options = cache.get("OPTIONS") or {}
    database = {**options, **(options.get("CONNECTION_POOL_KWARGS") or {})}.get("db")
    names = (str(cache.get("KEY_PREFIX") or ""), str(cache.get("VERSION", 1)), function)
    return repr((*names, str(cache.get("LOCATION") or cache["BACKEND"]), options.get("SENTINELS"), database))


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


# -- two processes --------------------------------------------------------------------------------------
def describe_cache(alias: str) -> str:
    """Return how this process sees a cache, for `difference`; contains no password."""
    names = {"host": socket.gethostname(), **_names(alias), "at": time.time()}
    return json.dumps({**names, "server": _server(alias).id})


def difference(theirs: str, alias: str, *, here: str = "here") -> str:
    """Return how a cache described by another process differs from ours.

    Args:
        theirs: the result of `describe_cache` there; empty: unknown.
        here: a name for this process.

    Returns:
        Part of a sentence; nothing if it is the same cache, or if that is unknown.
    """
    if not theirs:
        return ""
    their, our = json.loads(theirs), _names(alias)
    if their["key"] != our["key"]:
        return f"{KEY!r} is stored as {their['key']!r} on {their['host']} and as {our['key']!r} {here}"
    if their["address"] == our["address"] or not their["server"]:
        return ""
    server = _server(alias)
    # A server that started since then may be the same one, restarted.
    if server.id in ("", their["server"]) or server.began_at >= their["at"]:
        return ""
    return f"it is at {their['address']} on {their['host']} and at {our['address']} {here}"


def _names(alias: str) -> dict[str, str]:
    codec = codec_at(alias)
    place = "" if codec is None else _CLUSTER if codec.is_cluster else address(codec.connect())
    # A local address means a different server on each machine.
    place += f" ({socket.gethostname()})" if place.startswith(_LOCAL) else ""
    return {"key": str(caches[alias].make_key(KEY)), "address": place}


@dataclass(frozen=True, kw_only=True)
class _Server:
    """A server's id with the database number, if known, and when the server started."""

    id: str = ""
    began_at: float = 0.0


def _server(alias: str) -> _Server:
    codec, now = codec_at(alias), time.time()
    if codec is None or codec.is_cluster:
        return _Server(id=_CLUSTER if codec else "")
    for info in _infos(alias):
        database = codec.connect().connection_pool.connection_kwargs.get("db") or 0
        # A server counts whole seconds, by a clock that it reads only occasionally: this is the latest time.
        began_at = now - info["uptime_in_seconds"] + 1
        return _Server(id=f"{info['run_id']}/{database}", began_at=began_at)
    return _Server()


# -- the server's incarnation ---------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Incarnation:
    """A Redis server since its start or promotion; a later incarnation may lack acknowledged writes.

    Attributes:
        id: changes with each start and each promotion.
        began_empty: it loaded no key when it started, and is not a promoted replica.
        read_log: it loaded its append-only file, which lacks a second or two at most.
        uptime: the seconds since its start.
    """

    id: str
    began_empty: bool = False
    read_log: bool = False
    uptime: float = inf


def incarnation_of(alias: str) -> Incarnation | None:
    """Return the incarnation of the primary that a cache reaches; None if that is unknown.

    It is unknown while the server does not answer or is loading its data, if the user may not run INFO, and
    for any cache that is not Redis. A cluster has one for all primaries: if a replica took over, any key may
    be affected.
    """
    codec, infos = codec_at(alias), _infos(alias)
    if codec is None or not infos:
        return None
    if codec.is_cluster:
        ids = " ".join(sorted(info["run_id"] for info in infos))
        return Incarnation(id=hashlib.sha256(ids.encode()).hexdigest()[:40])
    [info] = infos
    # The id of the replication that a promotion ended. The server forgets it after an hour without replicas.
    ended = info.get("master_replid2") or ""
    has_log = bool(info.get("aof_enabled"))
    return Incarnation(
        id=f"{info['run_id']}{ended and f':{ended}'}",
        began_empty=info.get("rdb_last_load_keys_loaded") == 0 and not ended and not has_log,
        read_log=has_log and not ended,
        uptime=float(info.get("uptime_in_seconds", "inf")),
    )


def _infos(alias: str) -> list[Mapping[str, Any]]:
    """Return the INFO of each primary; nothing if one does not answer, or is no longer a primary."""
    codec = codec_at(alias)
    if codec is None:
        return []
    try:
        with connected(alias, codec.connect, breaker_of(alias)) as server:
            nodes = map(server.get_redis_connection, server.get_primaries()) if codec.is_cluster else [server]
            # A server that is loading its data rejects PING, but not INFO.
            infos = [node.info() for node in nodes if node.ping()]
            if all(info.get("role") == "master" for info in infos):
                return infos
            if codec.is_cluster:
                server.refresh()
            else:
                disconnect_idle(server)  # new connections may lead to its successor
    except StoreUnavailable:
        pass
    return []
