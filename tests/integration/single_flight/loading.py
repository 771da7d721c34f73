"""What loads a cold key, and what is in the cache afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from redis import Redis

Start = Callable[..., Future[Any]]


class Loader:
    """A loader that reads rows from a dictionary and keeps its calls; each of `errors` is raised once."""

    def __init__(self, rows: Mapping[Any, Any] | None = None) -> None:
        self.rows = dict(rows if rows is not None else {id: f"value {id}" for id in range(1, 10)})
        self.calls: list[list[Any]] = []
        self.errors: list[BaseException] = []

    def __call__(self, ids: Sequence[Any]) -> Mapping[Any, Any]:
        self.calls.append(list(ids))
        found = {id: self.rows[id] for id in ids if id in self.rows}
        if self.errors:
            raise self.errors.pop(0)
        return found


def kept(redis_client: Redis) -> set[str]:
    """Return what is in the cache, but for the fences."""
    names = {name.decode() for name in redis_client.scan_iter()}
    return {name for name in names if ":warmer-fence:" not in name}
