"""A cache backend for `CACHES`: django-redis with safer defaults, behind the circuit breaker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any
from zlib import crc32

from django.utils.functional import cached_property
from django_redis.cache import RedisCache as DjangoRedis
from django_redis.exceptions import ConnectionInterrupted
from redis import BlockingConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ReadOnlyError, RedisError
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from warmer.exceptions import CircuitOpen, UnreadableValue
from warmer.stores.breaker import Breaker, breaker_at
from warmer.stores.redis.connections import disconnect_idle, is_outage

# A request must not wait for an unresponsive cache: loading from the database is faster.
TIMEOUT_SECONDS = 0.5
POOL_WAIT_SECONDS = 2.0
CLUSTERS = ("redis-cluster://", "rediss-cluster://")
# Methods that do not call the server, or only later.
_LATER = {"client", "close", "lock", "iter_keys", "sscan_iter"}
# The methods that call the server.
CALLS = {name for name in vars(DjangoRedis) if not name.startswith("_")} - _LATER


class _NotCalled(CircuitOpen, ConnectionError):
    """Raised without `IGNORE_EXCEPTIONS`; code that handles django-redis' own error catches it too."""


class SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """A pool of connections to a Sentinel's master in which threads wait for a free one."""


class RedisCache(DjangoRedis):  # type: ignore[misc]  # django-redis has no types that mypy follows here
    """django-redis' backend with a circuit breaker and different defaults for `OPTIONS`.

    While the circuit is open, every method fails immediately; with `IGNORE_EXCEPTIONS` (the default), it
    returns what it returns when Redis is down. For the options see django-redis. These defaults differ:
    `SERIALIZER`, `IGNORE_EXCEPTIONS`, time-outs of half a second (`CONNECTION_POOL_KWARGS`), and a pool whose
    threads wait for a free connection (`CONNECTION_POOL_CLASS`).
    """

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        options = {
            "SERIALIZER": "warmer.serializers.MsgspecSerializer",
            # A site keeps working without its cache: `cache.get` is then a miss.
            "IGNORE_EXCEPTIONS": True,
            **params.get("OPTIONS", {}),
        }
        pool = {
            "socket_timeout": options.get("SOCKET_TIMEOUT", TIMEOUT_SECONDS),
            "socket_connect_timeout": options.get("SOCKET_CONNECT_TIMEOUT", TIMEOUT_SECONDS),
            # Retry once on a new connection if the server closed an idle one; never after a time-out.
            "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
            **options.get("CONNECTION_POOL_KWARGS", {}),
        }
        is_cluster = isinstance(server, str) and server.startswith(CLUSTERS)
        if is_cluster:
            options.setdefault("CLIENT_CLASS", "warmer.stores.redis.cluster.ClusterClient")
        elif "CONNECTION_POOL_CLASS" not in options:
            pool_class = SentinelPool if "SENTINELS" in options else BlockingConnectionPool
            options["CONNECTION_POOL_CLASS"] = f"{pool_class.__module__}.{pool_class.__qualname__}"
            pool.setdefault("timeout", POOL_WAIT_SECONDS)
        options["CONNECTION_POOL_KWARGS"] = pool
        # django-redis keeps one pool per URL, so another alias with the same URL would share its pool.
        mark = crc32(repr(params.get("OPTIONS")).encode())
        urls = server.split(",") if isinstance(server, str) else server
        marked = [f"{url}#warmer{mark}" for url in urls if url]
        super().__init__(server if is_cluster else marked, {**params, "OPTIONS": options})
        self._place = (server, options.get("SENTINELS"))

    @cached_property
    def client(self) -> GuardedClient:
        """The client of this cache, wrapped so that each method asks the breaker first."""
        return GuardedClient(super().client, breaker_at(*self._place), ignores=self._ignore_exceptions)


class GuardedClient:
    """A client of django-redis, `unguarded`, whose methods are not called while the circuit is open.

    If it `ignores` errors, they count as misses.
    """

    def __init__(self, client: Any, breaker: Breaker, *, ignores: bool) -> None:
        self.unguarded = client
        self.ignores = ignores
        self._breaker = breaker

    def get_many(self, keys: Iterable[Any], *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Return the cached values; an unreadable value is left out."""
        keys, found = list(keys), dict[Any, Any]()
        try:
            return dict(self._guard(self.unguarded.get_many)(keys, *args, **kwargs))
        except UnreadableValue:
            if not self.ignores:
                raise
        middle = len(keys) // 2
        for half in (keys[:middle], keys[middle:]) if middle else ():
            found |= self.get_many(half, *args, **kwargs)
        return found

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.unguarded, name)
        if name not in CALLS:
            return found
        guarded = self._guard(found)
        setattr(self, name, guarded)  # found directly the next time
        return guarded

    def _guard(self, method: Callable[..., Any]) -> Callable[..., Any]:
        breaker = self._breaker

        @wraps(method)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if breaker.is_open:
                try:
                    breaker.admit()
                except CircuitOpen as error:
                    raise ConnectionInterrupted(None) from _NotCalled(*error.args)
            try:
                result = method(*args, **kwargs)
            except (ConnectionInterrupted, RedisError, OSError) as error:  # some methods do not wrap it
                cause = error.__cause__ if isinstance(error, ConnectionInterrupted) else error
                if cause is not None and is_outage(cause):
                    breaker.failed(cause)
                elif isinstance(cause, ReadOnlyError):
                    disconnect_idle(self.unguarded.get_client())  # new connections may lead to its successor
                raise
            if breaker.is_open:
                breaker.succeeded()
            return result

        return guarded
