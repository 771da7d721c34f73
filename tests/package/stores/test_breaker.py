"""A cache that does not answer is left alone, by jobs and by the site's own calls: who may probe it, and when."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import Any
from unittest.mock import Mock, patch

import pytest
from django.core.cache import caches
from django.test import Client
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.support.stores import answers, open_things
from warmer import warm
from warmer.exceptions import CircuitOpen, StoreUnavailable
from warmer.filling import shared_loads
from warmer.invalidation import backlog
from warmer.stores import breaker as breakers
from warmer.stores.breaker import LONGEST_WAIT_SECONDS, Breaker

ERROR = ConnectionError("refused")
Clock = Callable[[float], None]
Entry = dict[str, Any]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the breakers' clock; return what advances it."""
    now = [100.0]
    monkeypatch.setattr(breakers, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


@pytest.fixture
def failed() -> Iterator[Mock]:
    """What the breakers heard of failed calls, each of which waited for the server until its time-out."""
    with patch.object(Breaker, "failed", autospec=True, side_effect=Breaker.failed) as failed:
        yield failed


@pytest.fixture
def own(settings: Any) -> Entry:
    """Put the backend of this package at the alias "own", on the server of this process; return its settings."""
    address = settings.CACHES["default"]["LOCATION"]
    own = {"BACKEND": "warmer.stores.redis.backend.RedisCache", "LOCATION": f"{address}?client_name=own"}
    settings.CACHES = {**settings.CACHES, "own": own}
    return own


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A circuit that opened just now."""
    breaker = Breaker("The cache 'x'")
    breaker.failed(ERROR)
    return breaker


def is_admitted(breaker: Breaker) -> bool:
    return answers(breaker.admit)


def test_open__admits_one_probe_per_wait_which_doubles_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    waits = []
    for _ in range(4):
        waited = 0.0
        while not is_admitted(breaker):
            clock(0.125)
            waited += 0.125
        assert not is_admitted(breaker)  # only one
        breaker.failed(ERROR)
        waits.append(waited)
    assert waits == [0.25, 0.5, LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]


def test_open__probe_of_which_nobody_hears_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    clock(0.125)
    for _ in range(20):  # threads whose calls were under way: they neither lengthen the wait nor begin it anew
        breaker.failed(ERROR)
    clock(0.125)
    assert is_admitted(breaker)
    clock(LONGEST_WAIT_SECONDS)
    assert is_admitted(breaker)


def test_success__closes_the_circuit_and_begins_with_the_first_wait_again(breaker: Breaker, clock: Clock) -> None:
    clock(0.25)
    breaker.admit()
    breaker.failed(ERROR)
    breaker.succeeded()
    assert all(is_admitted(breaker) for _ in range(3))
    breaker.failed(ERROR)
    clock(0.25)
    assert is_admitted(breaker)


def test_log__one_line_per_change_of_state_and_per_ten_seconds(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    breaker = Breaker("The cache 'x'")
    breaker.failed(ERROR)
    for _ in range(2):
        clock(0.1)
        assert not is_admitted(breaker)
    clock(10)
    breaker.admit()  # the probe
    assert not any(is_admitted(breaker) for _ in range(2))
    breaker.succeeded()
    assert [record.getMessage() for record in caplog.records] == [
        "The cache 'x' does not answer, so calls to it are suspended: ConnectionError: refused",
        "The cache 'x' has not answered for 10 s; this process skipped 3 calls: ConnectionError: refused",
        "The cache 'x' answers again; this process skipped 4 calls since the first failure 10.2 s ago",
    ]
    breaker.failed(ERROR)
    assert not is_admitted(breaker)
    clock(119.5)
    breaker.succeeded()
    assert caplog.messages[-1].endswith("; this process skipped 1 call since the first failure 119.5 s ago")
    assert all(record.exc_info is None for record in caplog.records)


def test_caches_in_one_place__share_a_breaker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breakers, "_breakers", {})
    entry = settings.CACHES["default"]
    behind = [{**entry, "LOCATION": "redis://mymaster/0", "OPTIONS": {"SENTINELS": [(host, 26379)]}} for host in "ab"]
    settings.CACHES = {"default": entry, "same": entry, "a": behind[0], "b": behind[1]}
    assert breakers.breaker_of("default") is breakers.breaker_of("same")
    assert breakers.breaker_at(entry["LOCATION"]).name == "The cache 'default', 'same'"
    assert len({id(breakers.breaker_of(alias)) for alias in ("default", "a", "b")}) == 3


# -- on a real server ---------------------------------------------------------------------------------
@pytest.mark.usefixtures("impatient_cache")
def test_store__write_too_long_for_the_timeout_does_not_suspend_other_calls(redis_server: RedisServer) -> None:
    store = open_things()
    token = store.token(["thing:1"])
    redis_server.pause()  # its socket takes a few megabytes, as on a slow network
    with pytest.raises(StoreUnavailable, match="Timeout writing") as raised:
        store.write(token, {"thing:1": random.Random(1).randbytes(12_000_000).hex()})
    assert not raised.value.is_logged  # by the breaker
    redis_server.resume()
    store.ping()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient_cache")
def test_site__waits_once_for_a_cache_that_hangs(make_user: Any, redis_server: RedisServer, failed: Mock) -> None:
    user, client = make_user(), Client()
    redis_server.pause()
    for name in "abc":
        assert client.get(f"/users/{user.pk}/").status_code == 200
        user.first_name = name
        user.save()
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
    assert failed.call_count == 1
    assert backlog().count  # for a worker
    redis_server.resume()


@pytest.mark.django_db(transaction=True)
def test_readers__of_one_process_share_loads_while_the_circuit_is_open(own_jobs: None) -> None:
    began: list[int] = []
    may_end = Semaphore(0)

    @warm("shared", name="shared")
    def job() -> str:
        began.append(1)
        assert may_end.acquire(timeout=30)
        return "value"

    breakers.breaker_of("default").failed(ERROR)
    with ThreadPoolExecutor(9) as pool:
        try:
            first = pool.submit(job.get)
            wait_until(lambda: bool(began), seconds=30, what="the first load began")
            others = [pool.submit(job.get) for _ in range(8)]
            wait_until(lambda: bool(shared_loads._next), seconds=30, what="another reader waits for the next")
        finally:
            may_end.release(10)
        assert {each.result(30) for each in (first, *others)} == {"value"}
    assert len(began) < 9


def test_store__batch_under_way_asks_the_breaker_too(redis_server: RedisServer) -> None:
    store = open_things()
    token = store.token([])
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        store.ping()
    with pytest.raises(CircuitOpen):
        store.begin_write(token, {"thing:1": 1}).end()


def test_store__server_that_refuses_a_command_is_not_left_alone(redis_server: RedisServer) -> None:
    store = open_things()
    store.turn(per_second=1, name="pace")
    with redis_server.client() as client:
        [key] = client.keys("*pace*")
        client.delete(key)
        client.rpush(key, "of another type")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            store.turn(per_second=1, name="pace")
    store.ping()


def test_store__server_that_came_back_is_used_again(redis_server: RedisServer, clock: Clock) -> None:
    store = open_things()
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        store.ping()
    RedisServer.start(redis_server)  # and this process is not told
    clock(LONGEST_WAIT_SECONDS)
    store.ping()


# -- the backend of this package ----------------------------------------------------------------------
def test_backend__waits_once_for_a_cache_that_hangs(redis_server: RedisServer, failed: Mock, own: Entry) -> None:
    cache, store = caches["own"], open_things(alias="own")
    cache.set("a", [1])
    redis_server.pause()
    for _ in range(20):
        assert cache.get("a") is None
        assert cache.get_many(["a", "b"]) in ({}, None)
        cache.set("a", 2)
        with pytest.raises(CircuitOpen, match="Timeout"):  # the jobs of the cache share the breaker
            store.ping()
    assert failed.call_count == 1
    redis_server.resume()
    assert cache.get("a") == [1]


def test_backend__restarted_server_costs_no_call(redis_server: RedisServer, own: Entry) -> None:
    cache = caches["own"]
    cache.set("a", 1)
    redis_server.restart()
    cache.set("a", 2)  # on a new connection
    assert cache.get("a") == 2


def test_backend__without_ignore_exceptions_raises_errors(settings: Any, redis_server: RedisServer, own: Entry) -> None:
    settings.CACHES = {"default": settings.CACHES["default"], "own": own | {"OPTIONS": {"IGNORE_EXCEPTIONS": False}}}
    redis_server.stop()
    with pytest.raises(RedisConnectionError):
        caches["own"].get("a")
    with pytest.raises(CircuitOpen) as raised:
        caches["own"].get("a")
    assert isinstance(raised.value, RedisConnectionError)  # for code that goes on without Redis


def test_backend__used_up_pool_is_no_outage(settings: Any, failed: Mock, own: Entry) -> None:
    options = {"CONNECTION_POOL_KWARGS": {"max_connections": 1, "timeout": 0.01}}
    address = own["LOCATION"].replace("=own", "=small")
    settings.CACHES = {**settings.CACHES, "own": own | {"LOCATION": address, "OPTIONS": options}}
    cache = caches["own"]
    cache.set("a", 1)
    pool = cache.client.get_client().connection_pool
    taken = pool.get_connection()
    assert cache.get("a") is None
    with pytest.raises(StoreUnavailable, match="No connection"):
        open_things(alias="own").ping()
    pool.release(taken)
    assert cache.get("a") == 1
    assert not failed.called


def test_backend__iterator_is_no_answer(redis_server: RedisServer, failed: Mock, own: Entry, clock: Clock) -> None:
    cache = caches["own"]
    redis_server.stop()
    with pytest.raises(RedisConnectionError):
        cache.touch("a")  # django-redis does not wrap what it raises
    assert failed.call_count == 1
    clock(1)
    cache.iter_keys("*")
    assert breakers.breaker_of("own").is_open
    with pytest.raises(RedisConnectionError):
        list(cache.iter_keys("*"))


def test_backend__has_a_pool_and_options_of_its_own(settings: Any, own: Entry) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "plain": own | {"BACKEND": "django_redis.cache.RedisCache"},
        "patient": own | {"OPTIONS": {"SOCKET_TIMEOUT": 3}},
        "mixed": own | {"OPTIONS": {"CONNECTION_POOL_KWARGS": {"socket_timeout": 3}}},
    }
    caches["plain"].set("a", 1)
    names = ("socket_timeout", "socket_connect_timeout")
    options = {
        alias: [caches[alias].client.get_client().connection_pool.connection_kwargs[name] for name in names]
        for alias in ("patient", "own", "mixed")
    }
    assert options == {"patient": [3, 0.5], "own": [0.5, 0.5], "mixed": [3, 0.5]}
