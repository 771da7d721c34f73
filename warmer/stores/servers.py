"""Identify the Redis server behind a cache: whether two processes use the same one, and which incarnation.

Each process describes how it sees a cache. A server is identified by its address or by its own id, because
processes may use different names for one server, and its id changes after a restart. Unknown means no
difference.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from typing import Any

from django.core.cache import caches

from warmer.exceptions import StoreUnavailable
from warmer.stores.breaker import breaker_of
from warmer.stores.factory import codec_at

if find_spec("redis"):
    from warmer.stores.redis.connections import address, disconnect_idle
    from warmer.stores.redis.store import connected

# A key whose name is compared between processes.
KEY = "key"
# How long a server's id is cached.
ID_SECONDS = 60.0
_LOCAL = ("/", "127.", "localhost:", "::1:")
_CLUSTER = "a Redis Cluster"


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


@dataclass(frozen=True, kw_only=True)
class _Server:
    """A server's id with the database number, when it was queried, and when the server started."""

    id: str = ""
    asked_at: float = 0.0
    began_at: float = 0.0


# By the client's address.
_servers: dict[str, _Server] = {}


def incarnation_of(alias: str) -> Incarnation | None:
    """Return the incarnation of the primary that a cache reaches; None if that is unknown.

    It is unknown while the server does not answer or is loading its data, if the user may not run INFO, and
    for any cache that is not Redis. A cluster has one for all primaries: if a replica took over, any key may
    be affected.
    """
    infos = _infos(alias)
    if not infos:
        return None
    if _client(alias) is None:
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


def describe_cache(alias: str) -> str:
    """Return how this process sees a cache, for `difference`; contains no password."""
    server = _server(alias)
    return json.dumps(
        {"host": socket.gethostname(), **_names(alias), "server": server.id, "at": server.asked_at}
    )


def difference(theirs: str, alias: str, *, here: str = "here") -> str:
    """Return how a cache described by another process differs from ours.

    Args:
        theirs: the result of `describe_cache` there; empty: unknown.
        alias: our cache.
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
    if server.id != their["server"]:
        server = _server(alias, seconds=0)  # our information may be from before a restart
    # A server that started since then may be the same one, restarted.
    if server.id in ("", their["server"]) or server.began_at >= their["at"]:
        return ""
    return f"it is at {their['address']} on {their['host']} and at {our['address']} {here}"


def _names(alias: str) -> dict[str, str]:
    client = _client(alias)
    place = _name_of_cluster(alias) if client is None else address(client)
    # A local address means a different server on each machine.
    place += f" ({socket.gethostname()})" if place.startswith(_LOCAL) else ""
    return {"key": str(caches[alias].make_key(KEY)), "address": place}


def _server(alias: str, *, seconds: float = ID_SECONDS) -> _Server:
    """Return the Redis server of a cache, from information at most that old; without an id if unknown."""
    client = _client(alias)
    if client is None:
        return _Server(id=_name_of_cluster(alias), asked_at=time.time())
    name, now = address(client), time.time()
    known = _servers.get(name)
    if known is None or not 0 <= now - known.asked_at < seconds:
        infos = _infos(alias)
        if not infos:
            return _Server()
        [info] = infos
        id = f"{info['run_id']}/{client.connection_pool.connection_kwargs.get('db') or 0}"
        # A server counts whole seconds, by a clock that it reads only occasionally: this is the latest
        # possible time.
        known = _Server(id=id, asked_at=now, began_at=now - info["uptime_in_seconds"] + 1)
        _servers[name] = known
    return known


def _infos(alias: str) -> list[Mapping[str, Any]]:
    """Return the INFO of each primary; nothing if one does not answer, or is no longer a primary."""
    codec = codec_at(alias)
    if codec is None:
        return []
    try:
        with connected(alias, codec.connect, breaker_of(alias)) as client:
            server: Any = client
            nodes = map(server.get_redis_connection, server.get_primaries()) if codec.is_cluster else [server]
            infos = [_info(node) for node in nodes]
            if all(info.get("role") == "master" for info in infos):
                return infos
            if codec.is_cluster:
                server.refresh()
            else:
                disconnect_idle(server)  # new connections may lead to its successor
    except StoreUnavailable:
        pass
    return []


def _info(node: Any) -> Mapping[str, Any]:
    # A server that is loading its data rejects PING, but not INFO.
    pipeline = node.pipeline(transaction=False)
    pipeline.ping()
    pipeline.info()
    info: Mapping[str, Any] = pipeline.execute()[1]
    return info


def _client(alias: str) -> Any:
    codec = codec_at(alias)
    # Each node of a cluster has its own id, and nodes come and go.
    return None if codec is None or codec.is_cluster else codec.connect()


def _name_of_cluster(alias: str) -> str:
    """Return the same name for every cluster, so that one differs from a server; empty: the cache is none."""
    codec = codec_at(alias)
    return _CLUSTER if codec is not None and codec.is_cluster else ""
