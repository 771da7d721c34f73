"""What the tests of stores share: a store of the default cache, and what its server holds."""

from collections.abc import Callable
from typing import Any

from django.core.cache import cache

from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate, glob_escape
from warmer.report import Outcome
from warmer.stores import Claim, Invalidation, Store, Token, invalidate_together, open_store

THINGS = [f"thing:{id}" for id in (*range(100), 500)]
WRITTEN, SUPERSEDED = Outcome.WRITTEN, Outcome.SUPERSEDED


def open_things(key: str = "thing:{id}", **options: Any) -> Any:
    """Open the store of a job with this key, with options of `open_store`."""
    template = KeyTemplate.parse(key, keyed="{id}" in key)
    return open_store(**{"alias": "default", "template": template, "timeout": 60.0} | options)


def answers(call: Callable[[], object]) -> bool:
    """Return whether the cache answers a call."""
    try:
        call()
    except StoreUnavailable:
        return False
    return True


def fill(store: Store, token: Token, *keys: str) -> dict[str, Outcome]:
    """Write the value "filled" to each key; return the outcomes, which say what is cached."""
    before = cache.get_many(keys)
    outcomes = dict(store.write(token, dict.fromkeys(keys, "filled")).outcomes)
    written = {key: "filled" for key, outcome in outcomes.items() if outcome is WRITTEN}
    assert cache.get_many(keys) == before | written
    return outcomes


def shift_counts(store: Any, seconds: float) -> None:
    """Set all counts of a fence as if the server's clock had been so much ahead when they were made."""
    with store._server() as server:
        for fence in fences(store):
            for member, count in server.zrange(fence, 0, -1, withscores=True):
                if count >= 0:
                    server.zadd(fence, {member: count + seconds * 10**6})


def invalidate_all(store: Store) -> None:
    """Invalidate every key of a job: first reject writes of old values, then delete the keys."""
    keys = None if store.template.keyed else [store.template.key()]
    invalidate_together([Invalidation(store=store, keys=keys)])
    if keys is None:
        store.sweep()


def claim(store: Store, *keys: str) -> Claim:
    """Claim keys for half a minute."""
    return store.claim(list(keys), seconds=30.0)


def claims(store: Store, *keys: str) -> Any:
    """Return the claims of keys that readers see."""
    return store.lookup(list(keys), claims=True).claims


def fences(store: Any) -> list[str]:
    """Return the names of the fences that the store's server holds."""
    with store._server() as server:
        pattern = f"*{glob_escape(store.fence_key)}"
        return [name.decode() for name in server.scan_iter(match=pattern)]
