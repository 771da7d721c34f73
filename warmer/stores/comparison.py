"""Whether two processes keep their keys in one cache: each describes how it sees it.

A server is known by its address or by its own id, since processes may name one server differently, and it has
another id after a restart. What cannot be known counts as no difference.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import Any

from django.core.cache import caches

from warmer.exceptions import StoreUnavailable
from warmer.stores.breaker import breaker_of
from warmer.stores.factory import HAS_REDIS

if HAS_REDIS:
    from warmer.stores.redis.codec import ClusterCodec, codec_of
    from warmer.stores.redis.connections import address
    from warmer.stores.redis.store import connected

# A key to compare what two processes make of it.
KEY = "key"
# How long a server's own id is taken for granted.
ID_SECONDS = 60.0
_LOCAL = ("/", "127.", "localhost:", "::1:")


@dataclass(frozen=True, kw_only=True)
class _Server:
    """A server's own id with the number of the database, when it was asked for, and when the server began."""

    id: str = ""
    asked_at: float = 0.0
    began_at: float = 0.0


# By the client's address.
_servers: dict[str, _Server] = {}


def describe_cache(alias: str) -> str:
    """Return how this process sees a cache, for `difference`; no password is in it."""
    server = _server(alias)
    return json.dumps(
        {"host": socket.gethostname(), **_names(alias), "server": server.id, "at": server.asked_at}
    )


def difference(theirs: str, alias: str, *, here: str = "here") -> str:
    """Return how the cache that another process described differs from ours.

    Args:
        theirs: what `describe_cache` returned there; empty: unknown.
        alias: our cache.
        here: what to call this process.

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
        server = _server(alias, seconds=0)  # what is known here may be from before a restart
    # What began since then may be the same server, restarted.
    if server.id in ("", their["server"]) or server.began_at >= their["at"]:
        return ""
    return f"it is at {their['address']} on {their['host']} and at {our['address']} {here}"


def _names(alias: str) -> dict[str, str]:
    client = _client(alias)
    place = "" if client is None else address(client)
    # A local address is another server on another machine.
    place += f" ({socket.gethostname()})" if place.startswith(_LOCAL) else ""
    return {"key": str(caches[alias].make_key(KEY)), "address": place}


def _server(alias: str, *, seconds: float = ID_SECONDS) -> _Server:
    """Return which Redis server a cache is on, as known for so many seconds; without an id if unknown."""
    client = _client(alias)
    if client is None:
        return _Server()
    name, now = address(client), time.time()
    known = _servers.get(name)
    if known is None or not 0 <= now - known.asked_at < seconds:
        try:
            with connected(alias, lambda: client, breaker_of(alias)) as server:
                found = server.info("server")
        except StoreUnavailable:
            return _Server()
        id = f"{found['run_id']}/{client.connection_pool.connection_kwargs.get('db') or 0}"
        # A server counts whole seconds, by a clock that it looks at now and then: this is the latest moment.
        known = _Server(id=id, asked_at=now, began_at=now - found["uptime_in_seconds"] + 1)
        _servers[name] = known
    return known


def _client(alias: str) -> Any:
    codec = codec_of(caches[alias]) if HAS_REDIS else None
    # The nodes of a cluster have ids of their own, and come and go.
    return None if codec is None or isinstance(codec, ClusterCodec) else codec.connect()
