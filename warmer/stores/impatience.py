"""Clients for who wants to know soon how a server is: they neither retry nor wait long."""

from __future__ import annotations

from typing import Any

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from warmer.report import describe
from warmer.stores.looks import SentinelSeen

# Who looks at a broken set-up wants an answer soon, whatever its settings allow.
PATIENCE_SECONDS = 5.0


def impatient(kind: Any, options: dict[str, Any]) -> Redis:
    """Return a client that neither retries nor waits long.

    Args:
        kind: the class of its connections.
        options: of a connection, as in the settings.
    """
    waits = {
        name: min(seconds(options.get(name)) or PATIENCE_SECONDS, PATIENCE_SECONDS)
        for name in ("socket_timeout", "socket_connect_timeout")
    }
    # A server that cannot save refuses also the PING of a health check: then nothing could be read.
    quiet = {"retry": Retry(NoBackoff(), 0), "retry_on_timeout": False, "health_check_interval": 0}
    pool = ConnectionPool(connection_class=kind, max_connections=2, **options | waits | quiet)
    return Redis(connection_pool=pool)


def ask_sentinel(sentinel: Any, service: str) -> SentinelSeen:
    """Ask one Sentinel for the master.

    Args:
        sentinel: its client, of the settings.
        service: the name of the master.
    """
    pool: Any = sentinel.connection_pool
    place = f"{pool.connection_kwargs.get('host')}:{pool.connection_kwargs.get('port')}"
    client = impatient(pool.connection_class, dict(pool.connection_kwargs))
    try:
        state: Any = client.sentinel_master(service)
    except (RedisError, OSError) as error:
        return SentinelSeen(address=place, problem=describe(error))
    finally:
        client.connection_pool.disconnect()
    return SentinelSeen(
        address=place,
        master=f"{state['ip']}:{state['port']}",
        down=bool(state["is_sdown"]),
        agreed_down=bool(state["is_odown"]),
        quorum=int(state["quorum"]),
        others=int(state["num-other-sentinels"]),
        replicas=int(state["num-slaves"]),
    )


def seconds(value: Any) -> float | None:
    """Return a timeout of the settings; None: there is none."""
    return float(value) if isinstance(value, int | float) else None
