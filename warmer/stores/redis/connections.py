"""Calls to a Redis server: what their failures mean, and what to do with the connections then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any, cast

from redis import Redis, RedisCluster
from redis.exceptions import ClusterDownError, ConnectionError, MaxConnectionsError, RedisError, TimeoutError

from warmer.exceptions import StoreUnavailable
from warmer.report import describe
from warmer.stores.breaker import Breaker
from warmer.stores.instrumentation import called, observer


def is_outage(error: BaseException) -> bool:
    """Return whether an error shows that the server does not answer; a pool that is used up does not."""
    is_lost = isinstance(error, ConnectionError | TimeoutError | ClusterDownError | OSError)
    # The blocking pool has no error of its own.
    is_used_up = isinstance(error, MaxConnectionsError) or isinstance(error.__context__, Empty)
    return is_lost and not is_used_up


def disconnect_idle(server: Any) -> None:
    """Close the connections of a client that nobody holds."""
    is_cluster = isinstance(server, RedisCluster)
    clients = [node.redis_connection for node in cast(Any, server).get_nodes()] if is_cluster else [server]
    for pool in [client.connection_pool for client in clients if client is not None]:
        try:
            pool.disconnect(inuse_connections=False)
        except TypeError:  # pragma: no cover - the blocking pool of redis-py 6 knows no difference
            pool.disconnect()


@contextmanager
def connected(alias: str, connect: Callable[[], Redis], breaker: Breaker) -> Iterator[Redis]:
    """Yield the client of the server of the cache `alias`, for one call, and tell the breaker how it ended.

    Raises:
        CircuitOpen: the breaker does not admit the call.
        StoreUnavailable: the server does not answer, or answers with an error.
    """
    if breaker.is_open:
        breaker.admit()
    server = None
    try:
        server = connect()
        if observer.get() is None:  # the common case costs one lookup
            yield server
        else:
            with called(alias):
                yield server
    except (RedisError, OSError) as error:
        if is_outage(error):
            breaker.failed(error)
        elif breaker.is_open:
            breaker.succeeded()
        raise _unavailable(alias, server, error) from error
    except StoreUnavailable:
        raise  # nothing was sent: the key has no certain name
    except BaseException:
        # An interrupt. redis-py returns the connection to its pool with the answer still to come; a later
        # call on it would take that answer for its own.
        disconnect_idle(server)
        raise
    else:
        if breaker.is_open:
            breaker.succeeded()


def _unavailable(alias: str, server: Redis | None, error: Exception) -> StoreUnavailable:
    at = "" if server is None else f" at {address(server)}"
    return StoreUnavailable(f"The cache {alias!r}{at} does not answer as it should: {describe(error)}")


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
