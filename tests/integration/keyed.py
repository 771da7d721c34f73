"""Keyed jobs whose loader is never asked: what is cached of them, and what an invalidation took away."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache

from warmer import warm_many


def cached(*keys: str) -> list[str]:
    """Put something at each key."""
    cache.set_many(dict.fromkeys(keys, "cached"))
    return list(keys)


def gone(*keys: str) -> set[str]:
    """Return the keys at which nothing is any more."""
    return set(keys) - set(cache.get_many(keys))


def job(key: str, depends_on: Any) -> Any:
    """Declare a job, named after the first part of its key."""
    return warm_many(key, ids=list, name=key.partition(":")[0], depends_on=depends_on)(dict)
