"""What a failure of a connection to Redis means, and what to do with the others of its pool."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ConnectionError, MaxConnectionsError, TimeoutError


def is_outage(error: BaseException) -> bool:
    """Return whether an error shows that the server does not answer; a pool that is used up does not."""
    is_lost = isinstance(error, ConnectionError | TimeoutError | OSError)
    return is_lost and not isinstance(error, MaxConnectionsError)


def disconnect_idle(pool: Any) -> None:
    """Close the connections of a pool that nobody holds."""
    try:
        pool.disconnect(inuse_connections=False)
    except TypeError:  # pragma: no cover - the blocking pool of redis-py 6 knows no difference
        pool.disconnect()
