"""What a failure of a connection to Redis means, and what to do with the others of its pool."""

from __future__ import annotations

from queue import Empty
from typing import Any

from redis.exceptions import ConnectionError, MaxConnectionsError, TimeoutError


def is_outage(error: BaseException) -> bool:
    """Return whether an error shows that the server does not answer; a pool that is used up does not."""
    is_lost = isinstance(error, ConnectionError | TimeoutError | OSError)
    # The blocking pool has no error of its own.
    is_used_up = isinstance(error, MaxConnectionsError) or isinstance(error.__context__, Empty)
    return is_lost and not is_used_up


def disconnect_idle(pool: Any) -> None:
    """Close the connections of a pool that nobody holds."""
    try:
        pool.disconnect(inuse_connections=False)
    except TypeError:  # pragma: no cover - the blocking pool of redis-py 6 knows no difference
        pool.disconnect()
