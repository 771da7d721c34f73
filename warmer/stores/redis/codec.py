"""How a Redis cache backend encodes keys and values, so that `cache.get` can read what we write."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from itertools import islice
from typing import Any

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from redis import Redis

from warmer.context import own_write
from warmer.keys import ANY_ID, glob_escape, is_id_text
from warmer.report import describe

HAS_DJANGO_REDIS = find_spec("django_redis") is not None
if HAS_DJANGO_REDIS:
    from django_redis.cache import RedisCache as DjangoRedis
    from django_redis.client import DefaultClient, HerdClient, ShardClient


# Keys per SCAN call: about a millisecond of the server's time.
SCAN_COUNT = 1_000


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One cache's connection and values.

    Attributes:
        connect: returns a client of the primary, since a replica may still hold what was invalidated.
        parse: returns the arguments of a connection, without connecting; raises ValueError if the cache's
            address is malformed.
        encode: returns a value as the cache stores it; raises ValueError or whatever the serializer raises.
        decode: returns the value.
    """

    connect: Callable[[], Any]
    parse: Callable[[], Mapping[str, Any]]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    is_cluster: bool = False


def codec_of(cache: BaseCache) -> Codec | None:
    """Return the codec of a cache in one Redis server or cluster; None for any other cache.

    django-redis' `ShardClient` spreads keys over servers, where no script is atomic, and its
    `HerdClient` wraps values: neither is one Redis server with plain values.
    """
    client: Any
    if isinstance(cache, DjangoRedisCache):
        client = cache._cache
        dumps, loads = client._serializer.dumps, client._serializer.loads
        connect = partial(client.get_client, None, write=True)  # a client connects when it is used
        return Codec(connect=connect, parse=_arguments(connect), encode=_in_bytes(dumps), decode=loads)
    if not HAS_DJANGO_REDIS or not isinstance(cache, DjangoRedis):
        return None
    if issubclass(cache._client_cls, HerdClient | ShardClient):
        return None
    client = getattr(cache.client, "unguarded", cache.client)
    as_usual = cache._client_cls.encode is DefaultClient.encode
    is_cluster = getattr(cache._client_cls, "is_cluster", False)
    connect = client.connect if is_cluster else partial(client.get_client, write=True)
    return Codec(
        connect=connect,
        parse=client.parse if is_cluster else _arguments(connect),
        encode=_fast_encode(client) if as_usual else _in_bytes(client.encode),
        decode=client.decode,
        is_cluster=is_cluster,
    )


def _arguments(connect: Callable[[], Any]) -> Callable[[], Mapping[str, Any]]:
    return lambda: connect().connection_pool.connection_kwargs


def _in_bytes(encode: Callable[[Any], Any]) -> Callable[[Any], bytes]:
    def encoded(value: Any) -> bytes:
        found = encode(value)
        return found if isinstance(found, bytes) else str(found).encode()

    return encoded


def _fast_encode(client: Any) -> Callable[[Any], bytes]:
    """Return a function that does what a client's own `encode` does, in half the time.

    It passes subclasses of int to the serializer; the client would store the bare number, which comes back as
    an int.
    """
    dumps, compress = client._serializer.dumps, client._compressor.compress

    def encoded(value: Any) -> bytes:
        return str(value).encode() if type(value) is int else compress(dumps(value))

    return encoded


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Encoded values, and the errors of those that could not be encoded."""

    values: Mapping[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@own_write()
def encode_all(values: Mapping[str, Any], encode: Callable[[Any], Any]) -> Encoded:
    """Encode values; a value that cannot be encoded fails only its own key."""
    began = time.perf_counter()
    errors: dict[str, str] = {}
    try:
        encoded = {key: encode(value) for key, value in values.items()}
    except Exception:  # noqa: BLE001 - a serializer's own: find out which value it is
        encoded = {}
        for key, value in values.items():
            try:
                encoded[key] = encode(value)
            except Exception as error:  # noqa: BLE001 - a serializer's own
                errors[key] = f"its value cannot be encoded: {describe(error)}"
    return Encoded(values=encoded, errors=errors, seconds=time.perf_counter() - began)


def ids_of(server: Redis, made: str) -> Iterator[str]:
    """Yield the ids of the existing keys; some may come twice.

    Args:
        server: the client of the server.
        made: the pattern of the keys' names on the server, with `ANY_ID` for the id.
    """
    head, place, tail = made.partition(ANY_ID)
    if not place:
        return  # the key function drops the id, so keys cannot be listed
    pattern = f"{glob_escape(head)}*{glob_escape(tail)}"
    for name in server.scan_iter(match=pattern, count=SCAN_COUNT):
        key = name.decode(errors="replace")
        id = key[len(head) : len(key) - len(tail)]
        if is_id_text(id):  # otherwise it belongs to another template, whose id part contains a colon
            yield id


def found(server: Redis, patterns: Iterable[str]) -> Iterator[list[str]]:
    """Yield the names of the existing keys, in chunks (see `ids_of`)."""
    for made in patterns:
        for ids in batches(ids_of(server, made)):
            yield [made.replace(ANY_ID, id) for id in ids]


def batches(items: Iterable[Any], size: int = SCAN_COUNT) -> Iterator[list[Any]]:
    """Yield lists of at most `size` items."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def milliseconds(seconds: float) -> int:
    """Return a duration as an argument of the server's commands: at least 1."""
    return max(1, int(seconds * 1000))


def microseconds(length: timedelta) -> int:
    """Return a duration in the unit of the scripts."""
    return length // timedelta(microseconds=1)
