"""A job of squares, and what a server was asked."""

from collections.abc import Collection, Sequence
from typing import Any

from redis import Redis

from warmer import warm_many

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "filling"}}
Calls = list[list[int]]
MGET_ALONE = {"cmdstat_mget": 1, "cmdstat_config|resetstat": 1}


def squares(ids: Sequence[int]) -> dict[int, int]:
    """Load squares."""
    return {id: id * id for id in ids}


def loader_of(calls: Calls, *, bad: Collection[int] = ()) -> Any:
    """Return a loader of squares that keeps its calls, and raises an error for each bad id."""

    def load(ids: Sequence[int]) -> dict[int, int]:
        calls.append(list(ids))
        for id in ids:
            if id in bad:
                raise ValueError(f"row {id} is broken")
        return squares(ids)

    return load


def declare(loader: Any = squares, name: str = "square", **options: Any) -> Any:
    """Declare a job of ten ids in batches of four."""
    options = {"ids": lambda: range(10), "batch_size": 4} | options
    return warm_many(f"{name}:{{id}}", name=name, **options)(loader)


def calls_of(server: Redis) -> dict[str, int]:
    """Return how often the server was sent each command."""
    return {name: stats["calls"] for name, stats in server.info("commandstats").items()}
