"""Calls to a Redis server: the meaning of their failures, and what to do with connections after one."""

from collections.abc import Mapping
from functools import cache
from itertools import product
from queue import Empty
from typing import Any, cast

from redis import RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    MaxConnectionsError,
    ReadOnlyError,
    RedisClusterException,
    TimeoutError,
)

from warmer.exceptions import NodeOfCluster, StoreUnavailable
from warmer.report import describe
from warmer.stores.breaker import Breaker

SLOTS = range(16_384)


@cache
def tags() -> Mapping[int, str]:
    """Return, for each slot, a hash tag that maps to it.

    The checksum of a key is linear in its bits, so varying these 14 bits gives each slot once.
    """
    bits = "`abcdefghijklmno"
    texts = map("".join, product("0123", bits, bits, bits))
    return {slot_of(text): text for text in texts}


def slot_of(key: str) -> int:
    """Return the slot that a key belongs to."""
    return int(key_slot(key.encode()))


def is_outage(error: BaseException) -> bool:
    """Return whether an error means that the server does not answer; an exhausted pool does not."""
    # The blocking pool has no specific error.
    is_used_up = isinstance(error, MaxConnectionsError) or isinstance(error.__context__, Empty)
    # A pipeline of a cluster raises the last of these, which is no RedisError, if no node answers.
    lost = (ConnectionError, TimeoutError, OSError, ClusterDownError, RedisClusterException)
    return isinstance(error, lost) and not is_used_up


def disconnect_idle(server: Any) -> None:
    """Close the idle connections of a client."""
    is_cluster = isinstance(server, RedisCluster)
    clients = [node.redis_connection for node in cast(Any, server).get_nodes()] if is_cluster else [server]
    for pool in [client.connection_pool for client in clients if client is not None]:
        try:
            pool.disconnect(inuse_connections=False)
        except TypeError:  # pragma: no cover - the blocking pool of redis-py 6 makes no difference
            pool.disconnect()


def address(server: Any) -> str:
    """Return where the server is, without its password."""
    if isinstance(server, RedisCluster):
        return f"the cluster of {', '.join(node.name for node in cast(Any, server).get_nodes())}"
    pool = server.connection_pool
    options: dict[str, Any] = pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    if hasattr(pool, "service_name"):
        return f"the Sentinel master {pool.service_name!r}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db') or 0}"


def failed(alias: str, server: Any, error: Exception, breaker: Breaker) -> StoreUnavailable:
    """Report a failed call to the breaker of a cache; return the error to raise."""
    is_away = is_outage(error)
    if is_away:
        breaker.failed(error)
    elif breaker.is_open:
        breaker.succeeded()
    if isinstance(error, ReadOnlyError):
        disconnect_idle(server)  # new connections may lead to its successor
    at = "" if server is None else f" at {address(server)}"
    is_single = not isinstance(server, RedisCluster)
    is_redirected = isinstance(error, AskError | ClusterCrossSlotError | ClusterDownError)
    # redis-py 5 has no classes for these outside a cluster's client.
    told = ("ASK ", "CLUSTERDOWN ", "CROSSSLOT ", "MOVED ")
    if is_single and (is_redirected or str(error).startswith(told)):
        return NodeOfCluster(f"The cache {alias!r}{at} {NodeOfCluster.advice}")
    found = StoreUnavailable(f"The cache {alias!r}{at} does not answer as expected: {describe(error)}")
    found.is_logged = is_away and breaker.is_open
    return found
