"""Which incarnation of a Redis server a cache reaches: another may lack what this one acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import caches

from warmer.exceptions import StoreUnavailable
from warmer.stores.breaker import breaker_of
from warmer.stores.factory import HAS_REDIS

if HAS_REDIS:
    from redis import Redis

    from warmer.stores.redis.codec import codec_of
    from warmer.stores.redis.connections import disconnect_idle
    from warmer.stores.redis.store import connected


@dataclass(frozen=True, kw_only=True)
class Incarnation:
    """A Redis server since it was started, or since it was promoted.

    Attributes:
        id: differs after each start and each promotion.
        began_empty: it read no key when it started, and is no promoted replica.
        read_log: it read what it had written to its append-only file, which lacks a second or two at most.
        uptime: the seconds since its start.
    """

    id: str
    began_empty: bool
    read_log: bool
    uptime: float


def incarnation_of(alias: str) -> Incarnation | None:
    """Return the incarnation of the primary that a cache reaches; None if that is unknown.

    It is unknown while the server does not answer or loads its data, if this user may not ask with INFO, and
    on any cache that is not one Redis server.
    """
    codec = codec_of(caches[alias]) if HAS_REDIS else None
    if codec is None:
        return None
    client: Any = codec.connect()
    if not isinstance(client, Redis):
        return None  # of a cluster, each node has a server of its own behind it
    try:
        with connected(alias, client, breaker_of(settings.CACHES[alias].get("LOCATION"))) as server:
            # A server that loads its data refuses PING, but not INFO.
            pipeline = server.pipeline(transaction=False)
            pipeline.ping()
            pipeline.info()
            info: dict[str, Any] = pipeline.execute()[1]
    except StoreUnavailable:
        return None
    if info.get("role") != "master":
        disconnect_idle(client.connection_pool)  # it was demoted: new connections may lead to its successor
        return None
    # The replication that a promotion ended. It is forgotten after an hour without replicas.
    ended = info.get("master_replid2") or ""
    has_log = bool(info.get("aof_enabled"))
    return Incarnation(
        id=f"{info['run_id']}{ended and f':{ended}'}",
        began_empty=info.get("rdb_last_load_keys_loaded") == 0 and not ended and not has_log,
        read_log=has_log and not ended,
        uptime=float(info.get("uptime_in_seconds", "inf")),
    )
