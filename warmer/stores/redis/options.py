"""Find misspelt OPTIONS of a cache: django-redis ignores names that it does not know."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from redis import BlockingConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelConnectionPool

# What Django, django-redis and our serializer read.
OPTIONS = {
    *("CLIENT_CLASS", "CLOSE_CONNECTION", "COMPRESSOR", "CONNECTION_FACTORY", "CONNECTION_POOL_CLASS"),
    *("CONNECTION_POOL_KWARGS", "CULL_FREQUENCY", "FALLBACK_SERIALIZER", "IGNORE_EXCEPTIONS", "MAX_ENTRIES"),
    *("PARSER_CLASS", "PASSWORD", "PICKLE_VERSION", "REDIS_CLIENT_CLASS", "REDIS_CLIENT_KWARGS"),
    *("REPLICA_READ_ONLY", "SENTINELS", "SENTINEL_KWARGS", "SERIALIZER", "SOCKET_CONNECT_TIMEOUT"),
    *("SOCKET_TIMEOUT", "USERNAME"),
}
# A name that differs more is not a misspelling: a class of the project may read it.
ALIKE = 0.85


def misspelt(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield unknown names in OPTIONS and its CONNECTION_POOL_KWARGS, each with the known one it resembles."""
    pool, keywords = options.get("CONNECTION_POOL_KWARGS") or {}, _keywords()
    for given, known in ((options.keys() - keywords, OPTIONS), (pool.keys(), keywords)):
        nearest = {name.lower(): name for name in known - given}
        for name in sorted(given - known):
            for alike in difflib.get_close_matches(name.lower(), nearest, n=1, cutoff=ALIKE):
                yield name, nearest[alike]


def _keywords() -> set[str]:
    """Return the keyword arguments of redis-py's pools and connections."""
    kinds = (SSLConnection, UnixDomainSocketConnection, BlockingConnectionPool, SentinelConnectionPool)
    bases = {base for kind in kinds for base in kind.__mro__ if base is not object}
    return {name for base in bases for name in inspect.signature(base).parameters}
