"""A connection to a cache's Redis server, on which everything that goes wrong is one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from warmer.exceptions import StoreUnavailable
from warmer.report import describe
from warmer.stores.instrumentation import called, observer
from warmer.stores.redis.codec import Codec


@contextmanager
def connected(alias: str, codec: Codec, server: Redis | None = None) -> Iterator[Redis]:
    """Give a connection to the server of the cache `alias`: `server`, or the cache's own.

    Raises:
        StoreUnavailable: it does not answer, or answers with an error.
    """
    server = codec.connect() if server is None else server
    try:
        if observer.get() is None:  # as mostly: then it costs this look, and no more
            yield server
        else:
            with called(alias):
                yield server
    except (RedisError, OSError) as error:
        raise StoreUnavailable(
            f"The cache {alias!r} at {address(server)} does not answer as it should: {describe(error)}"
        ) from error
    except BaseException:
        # An interrupt. redis-py gives a connection back on which an answer is yet to come; if it has not come
        # when the connection is used again, it is taken for the next one's.
        _disconnect_idle(server.connection_pool)
        raise


def _disconnect_idle(pool: Any) -> None:
    try:
        pool.disconnect(inuse_connections=False)
    except TypeError:  # pragma: no cover - the blocking pool of redis-py 6 knows no difference
        pool.disconnect()


def address(server: Redis) -> str:
    """Return where the server is, without its password."""
    options: dict[str, Any] = server.connection_pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    pool: Any = server.connection_pool
    if hasattr(pool, "service_name"):
        return f"the Sentinel master {pool.service_name!r}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db') or 0}"
