"""Which incarnation of a Redis server a cache reaches: another may lack what this one acknowledged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import inf
from typing import Any

from django.core.cache import caches

from warmer.exceptions import StoreUnavailable
from warmer.stores.breaker import Breaker, breaker_of
from warmer.stores.factory import HAS_REDIS

if HAS_REDIS:
    from warmer.stores.redis.codec import ClusterCodec, codec_of
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
    on any cache that is not Redis.
    """
    codec = codec_of(caches[alias]) if HAS_REDIS else None
    if codec is None:
        return None
    breaker = breaker_of(alias)
    if isinstance(codec, ClusterCodec):
        return _of_cluster(alias, codec, breaker)
    client = codec.connect()
    try:
        with connected(alias, lambda: client, breaker) as server:
            # A server that loads its data refuses PING, but not INFO.
            pipeline = server.pipeline(transaction=False)
            pipeline.ping()
            pipeline.info()
            info: dict[str, Any] = pipeline.execute()[1]
    except StoreUnavailable:
        return None
    if info.get("role") != "master":
        disconnect_idle(client)  # it was demoted: new connections may lead to its successor
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


def _of_cluster(alias: str, codec: ClusterCodec, breaker: Breaker) -> Incarnation | None:
    """Return one for all primaries: where another took over, every key may be one that it lacks."""
    try:
        with connected(alias, codec.connect, breaker) as server:
            cluster: Any = server
            servers = [cluster.get_redis_connection(node) for node in cluster.get_primaries()]
            infos = [each.info() for each in servers if each.ping()]
            if any(info["role"] != "master" for info in infos):
                cluster.refresh()
                return None
    except StoreUnavailable:
        return None
    ids = " ".join(sorted(info["run_id"] for info in infos))
    id = hashlib.sha256(ids.encode()).hexdigest()[:40]
    return Incarnation(id=id, began_empty=False, read_log=False, uptime=inf)
