"""Choose the store for a cache."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

from warmer.exceptions import StoreUnavailable
from warmer.report import describe, masked_address
from warmer.stores.base import Invalidation, Store
from warmer.stores.generic import GenericStore
from warmer.stores.inspection import Server

HAS_REDIS = find_spec("redis") is not None
if HAS_REDIS:
    from redis.exceptions import ConnectionError, TimeoutError

    from warmer.stores.redis.codec import Codec, codec_of
    from warmer.stores.redis.store import RedisStore


def codec_at(alias: str) -> Codec | None:
    """Return how a cache in Redis is reached and how it encodes values; None for any other cache."""
    return codec_of(caches[alias]) if HAS_REDIS else None


def open_store(*, alias: str, **options: Any) -> Store:
    """Make the store that keeps a job's keys in a cache (for the arguments, see `Store`).

    Raises:
        StoreUnavailable: the cache cannot be used, e.g. because its library is not installed. A save then
            succeeds and records its change, as during an outage.
    """
    if why := why_unusable(alias):
        raise StoreUnavailable(f"The cache {alias!r} cannot be used: {why}")
    codec = codec_at(alias)
    if codec is None:
        return GenericStore(alias=alias, **options)
    if codec.is_cluster:
        from warmer.stores.redis.cluster import ClusterStore

        return ClusterStore(alias=alias, **options)
    return RedisStore(alias=alias, **options)


def is_fenced(alias: str) -> bool:
    """Return whether a cache supports the full guarantees."""
    return codec_at(alias) is not None


def keeps_nothing(alias: str) -> bool:
    """Return whether a cache discards every write, as DummyCache does."""
    return isinstance(caches[alias], DummyCache)


def is_local(alias: str) -> bool:
    """Return whether each process keeps a cache in its own memory."""
    return isinstance(caches[alias], LocMemCache)


def why_unusable(alias: str) -> str:
    """Return why a cache cannot be used, e.g. because its backend cannot be imported; empty if it can."""
    try:
        cache, codec = caches[alias], codec_at(alias)
    except Exception as error:  # noqa: BLE001 - a backend's own, at its settings
        return describe(error)
    if iscoroutinefunction(type(cache).get):  # the middleware wraps those of the instance
        return "its methods are coroutines, and warmer calls a cache synchronously"
    if codec is not None:
        try:
            arguments = codec.parse()
        except (ConnectionError, TimeoutError):  # of a client that connects at once
            return ""
        except ValueError as error:
            location = settings.CACHES[alias].get("LOCATION", "")
            urls = location.split(",") if isinstance(location, str) else location
            if codec.is_cluster:  # its commas do not divide it, and a list is malformed
                urls = [str(location)]
            shown = ",".join(map(masked_address, urls))
            return f"CACHES[{alias!r}]['LOCATION'] = {shown!r}: {describe(error)}"
        if arguments.get("decode_responses"):
            return "with decode_responses=True it returns text, while values are bytes"
    return ""


def open_servers(alias: str) -> list[Server]:
    """Return the Redis servers of a cache, to inspect them: each primary of a cluster; none for other caches.

    Raises:
        StoreUnavailable: no node of a cluster answers, or the one that was asked for the others does not.
        InvalidCacheBackendError: the cache's backend cannot be imported.
    """
    codec = codec_at(alias)
    if codec is None:
        return []
    if not codec.is_cluster:
        return [Server(codec.connect())]
    try:
        return [Server(each, is_node=True) for each in codec.connect().primaries()]
    except (ConnectionError, TimeoutError) as error:
        raise StoreUnavailable(f"The cache {alias!r} does not answer: {describe(error)}") from error


def pickles(alias: str) -> bool:
    """Return whether the values of a cache in a Redis server are pickles."""
    codec = codec_at(alias)
    # Too short for a compressor; pickles of every protocol since 2 begin and end like this.
    raw = b"" if codec is None else codec.encode(None)
    return raw[:1] == b"\x80" and raw[-1:] == b"."


def invalidate_together(invalidations: Sequence[Invalidation]) -> None:
    """Invalidate keys of several jobs, in one round trip for each Redis cache.

    Raises:
        StoreUnavailable: a cache does not answer. The other caches are invalidated.
    """
    groups: dict[str, list[Invalidation]] = defaultdict(list)
    for each in invalidations:
        groups[each.store.alias].append(each)
    failed: Exception | None = None
    for group in groups.values():
        try:
            type(group[0].store).invalidate_together(group)
        except StoreUnavailable as error:
            failed = error
    if failed is not None:
        raise failed
