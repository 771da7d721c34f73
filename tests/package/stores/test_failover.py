"""After a failover, open connections still lead to the server that was demoted."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import cache

from embedded.redis_server import RedisServer
from tests.support.caches import caches_at
from tests.support.proxy import Proxy
from tests.support.stores import open_things
from warmer.exceptions import StoreUnavailable
from warmer.report import Outcome

VALUES = {"thing:1": "value"}
WRITTEN, SUPERSEDED = {"thing:1": Outcome.WRITTEN}, {"thing:1": Outcome.SUPERSEDED}
FailOver = Callable[..., None]


@pytest.fixture
def fail_over(settings: Any) -> Iterator[FailOver]:
    """The cache is behind a proxy. Return a function that demotes its server, whose connections stay open."""
    at_once = {"shutdown-timeout": "0"}  # it would wait for its replica
    with RedisServer() as old, RedisServer(options=at_once) as new, Proxy(old) as proxy:
        settings.CACHES = caches_at(proxy.url)

        def fail_over(*, is_over: bool = True) -> None:
            with old.client() as client:
                client.replicaof("127.0.0.1", new.port)
            if is_over:
                proxy.server = new

        yield fail_over


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda store, _: bool(store.token([])), True),
        (lambda store, _: store.claim(["thing:1"], seconds=5.0).mine, ("thing:1",)),
        (lambda store, _: store.invalidate(["thing:1"]), None),
        (lambda store, token: store.write(token, VALUES).outcomes, SUPERSEDED),
        (lambda store, token: store.begin_write(token, VALUES).end().outcomes, SUPERSEDED),
    ],
    ids=["token", "claim", "invalidate", "write", "begin_write"],
)
def test_failover__call_reaches_the_new_primary(fail_over: FailOver, call: Any, expected: Any) -> None:
    store = open_things()
    token = store.token([])
    fail_over()
    assert call(store, token) == expected
    assert store.write(store.token([]), VALUES).outcomes == WRITTEN
    assert cache.get_many(VALUES) == VALUES


def test_failover__next_call_of_any_other_kind_reaches_the_new_primary(fail_over: FailOver) -> None:
    store = open_things()
    store.forget()
    fail_over()
    with pytest.raises(StoreUnavailable, match="read only replica"):
        store.forget()
    store.forget()


def test_failover__next_call_of_the_site_reaches_the_new_primary(fail_over: FailOver) -> None:
    cache.set("a", 1)
    fail_over()
    cache.set("a", 2)  # this one is lost
    cache.set("a", 3)
    assert cache.get("a") == 3


def test_failover__is_not_over(fail_over: FailOver) -> None:
    store = open_things()
    token = store.token([])
    fail_over(is_over=False)
    with pytest.raises(StoreUnavailable, match="read only replica"):
        store.write(token, VALUES)
