"""A cache's Redis client, as its Django backend made it: its connection, and how it encodes values.

Values are encoded as the cache itself encodes them, so `cache.get` reads what we write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from redis import Redis
from redis.exceptions import RedisError

from warmer.exceptions import StoreUnavailable
from warmer.report import describe
from warmer.stores.instrumentation import called, observer

if find_spec("django_redis"):
    from django_redis.cache import RedisCache as DjangoRedis
    from django_redis.client import DefaultClient, HerdClient, ShardClient

    HAS_DJANGO_REDIS = True
else:  # pragma: no cover - the test environment has it
    HAS_DJANGO_REDIS = False


class Codec(Protocol):
    """One cache's connection and values; `encode` raises what the serializer does, or ValueError."""

    def connect(self) -> Redis: ...
    def encode(self, value: Any) -> bytes: ...
    def decode(self, value: bytes) -> Any: ...


class DjangoRedisCodec:
    """Of django-redis, with its serializer and compressor."""

    def __init__(self, cache: Any) -> None:
        self._client = cache.client
        self._dumps = self._client._serializer.dumps
        self._compress = self._client._compressor.compress
        self.decode = self._client.decode

    def connect(self) -> Redis:
        # Always the primary: a replica may still hold what was invalidated.
        client: Redis = self._client.get_client(write=True)
        return client

    def encode(self, value: Any) -> bytes:
        # What the client's own `encode` does, in half its time; but of a subclass of int the serializer
        # is asked, where that would store the bare number, which comes back as an int.
        if type(value) is int:
            return str(value).encode()
        encoded: bytes = self._compress(self._dumps(value))
        return encoded


class OtherClientCodec(DjangoRedisCodec):
    """Of a client that encodes in its own way."""

    def encode(self, value: Any) -> bytes:
        encoded = self._client.encode(value)
        return encoded if isinstance(encoded, bytes) else str(encoded).encode()


class DjangoCodec:
    """Of Django's own Redis backend."""

    def __init__(self, cache: Any) -> None:
        self._client = cache._cache

    def connect(self) -> Redis:
        client: Redis = self._client.get_client(None, write=True)
        return client

    def encode(self, value: Any) -> bytes:
        encoded = self._client._serializer.dumps(value)
        return encoded if isinstance(encoded, bytes) else str(encoded).encode()

    def decode(self, value: bytes) -> Any:
        return self._client._serializer.loads(value)


def codec_of(cache: BaseCache) -> Codec | None:
    """Return the codec of a cache in one Redis server; None for any other cache.

    django-redis' `ShardClient` spreads keys over servers, where no script is atomic, and its
    `HerdClient` wraps values: neither is one Redis server with plain values.
    """
    if isinstance(cache, DjangoRedisCache):
        return DjangoCodec(cache)
    if not HAS_DJANGO_REDIS or not isinstance(cache, DjangoRedis):
        return None
    if issubclass(cache._client_cls, HerdClient | ShardClient):
        return None
    as_usual = cache._client_cls.encode is DefaultClient.encode
    return DjangoRedisCodec(cache) if as_usual else OtherClientCodec(cache)


@contextmanager
def connected(alias: str, codec: Codec, server: Redis | None = None) -> Iterator[Redis]:
    """Yield a client of the server of the cache `alias`: `server`, or the cache's own.

    Raises:
        StoreUnavailable: it does not answer, or answers with an error.
    """
    server = codec.connect() if server is None else server
    try:
        if observer.get() is None:  # the common case costs one lookup
            yield server
        else:
            with called(alias):
                yield server
    except (RedisError, OSError) as error:
        raise StoreUnavailable(
            f"The cache {alias!r} at {address(server)} does not answer as it should: {describe(error)}"
        ) from error
    except BaseException:
        # An interrupt. redis-py returns the connection to its pool with the answer still to come; a later
        # call on it would take that answer for its own.
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
