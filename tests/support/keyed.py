"""Keyed jobs whose loader is never asked: what is cached of them, and what an invalidation took away."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache import cache

from myapp.models import Post
from tests.support import waiting as recorded
from warmer import keys_invalidated, warm_many


def cached(*keys: str) -> list[str]:
    cache.set_many(dict.fromkeys(keys, "cached"))
    return list(keys)


def gone(*keys: str) -> set[str]:
    return set(keys) - set(cache.get_many(keys))


def gone_by(keys: Iterable[str], change: Callable[..., object], *args: Any, **kwargs: Any) -> set[str]:
    """Put something at keys, make a change, and return the keys at which nothing is any more."""
    cached(*keys)
    change(*args, **kwargs)
    return gone(*keys)


def job(key: str, depends_on: Any, **options: Any) -> Any:
    """Declare a job, named after the first part of its key."""
    return warm_many(key, ids=list, name=key.partition(":")[0], depends_on=depends_on, **options)(dict)


def by_function(key: str, model: Any, function: Any, *fields: str) -> Any:
    """Declare a job whose ids a function gives, of some fields."""
    return job(key, {model: function}, fields={model: fields})


@contextmanager
def received(receiver: Callable[..., object]) -> Iterator[None]:
    """Call a receiver for each invalidation in a block."""
    keys_invalidated.connect(receiver, weak=False)
    try:
        yield
    finally:
        keys_invalidated.disconnect(receiver)


def titles(key: str = "title:{id}", **options: Any) -> Any:
    """Declare a job that loads the titles of posts."""
    options = {"name": key.partition(":")[0], "ids": list} | options
    return warm_many(key, **options)(lambda ids: dict(Post.objects.filter(pk__in=ids).values_list("pk", "title")))


def waiting() -> list[tuple[str, Any]]:
    """Return the changes that wait to be applied: what each is of, and its rows or ids (None: every key)."""
    return [(what, rows and json.loads(rows)) for what, rows in recorded.waiting()]
