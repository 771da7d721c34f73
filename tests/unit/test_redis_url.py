"""`REDIS_URL` and `CELERY_BROKER_URL`: what the clients get, and that no error shows a password."""

from __future__ import annotations

import string
from typing import Any
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache
from django_redis.pool import ConnectionFactory
from hypothesis import assume, given
from hypothesis import strategies as st
from kombu.utils.url import parse_url
from redis import BlockingConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelConnectionPool

from config.redis_url import broker_settings, cache_settings, masked, sentinel_address
from warmer.stores.redis.codec import codec_of

SENTINELS = "redis-sentinel://ada:p%40ss%2Fw%23rd@s1.example.org:26380,s2.example.org/mymaster/2"
EXPECTED = "expected redis-sentinel://host:26379,host2:26379/NAME-OF-THE-MASTER/DATABASE-NUMBER."


@pytest.fixture(autouse=True)
def _no_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    # django-redis keeps a pool for each address, for as long as the process lives.
    monkeypatch.setattr(ConnectionFactory, "_pools", {})


def opened(url: str, *, max_connections: int = 7) -> Any:
    """Return the connection pool that a cache of these settings uses; it is not connected."""
    settings = cache_settings(url, max_connections=max_connections)
    assert settings["BACKEND"] == "django_redis.cache.RedisCache"
    cache = RedisCache(settings["LOCATION"], {"OPTIONS": settings["OPTIONS"]})
    return cache.client.get_client(write=True).connection_pool


def connection(url: str) -> dict[str, Any]:
    """Return with what a cache of these settings connects."""
    kwargs: dict[str, Any] = opened(url).connection_kwargs
    return kwargs


def refusal(url: str, variable: str = "REDIS_URL") -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        if variable == "REDIS_URL":
            cache_settings(url, max_connections=7)
        else:
            broker_settings(url)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache.example.org", {"host": "cache.example.org"}),
        ("redis://cache.example.org:6380/3", {"host": "cache.example.org", "port": 6380, "db": 3}),
        ("redis://:secret@cache/0", {"host": "cache", "db": 0, "password": "secret"}),
        ("redis://ada:secret@cache/0", {"username": "ada", "password": "secret"}),
        ("redis://:p%40ss%2Fw%3A%23rd%25@cache/1", {"host": "cache", "db": 1, "password": "p@ss/w:#rd%"}),
        ("redis://cache?db=4", {"host": "cache", "db": 4}),
    ],
)
def test_cache_settings__redis(url: str, expected: dict[str, Any]) -> None:
    kwargs = connection(url)

    assert {name: kwargs[name] for name in expected} == expected
    assert kwargs.get("password") == expected.get("password")


def test_cache_settings__rediss() -> None:
    pool = opened("rediss://:secret@cache.example.org:6380/1")

    assert pool.connection_class is SSLConnection
    assert pool.connection_kwargs["password"] == "secret"
    assert pool.connection_kwargs["host"] == "cache.example.org"


def test_cache_settings__unix() -> None:
    pool = opened("unix://:p%40ss@/run/redis.sock?db=2")

    assert pool.connection_class is UnixDomainSocketConnection
    assert pool.connection_kwargs["path"] == "/run/redis.sock"
    assert (pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("p@ss", 2)


@pytest.mark.parametrize("url", ["redis://cache/0", "rediss://cache/0", "unix:///run/redis.sock", SENTINELS])
def test_cache_settings__a_cache_that_does_not_answer_is_given_up(url: str) -> None:
    kwargs = connection(url)

    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (2, 2)
    assert kwargs["health_check_interval"] == 30
    assert kwargs["retry_on_timeout"] is True


@pytest.mark.parametrize("url", ["redis://cache/0", "rediss://cache/0", "unix:///run/redis.sock"])
def test_cache_settings__threads_wait_for_a_free_connection(url: str) -> None:
    pool = opened(url, max_connections=9)

    assert isinstance(pool, BlockingConnectionPool)
    assert (pool.max_connections, pool.timeout) == (9, 2)


def test_cache_settings__sentinel() -> None:
    pool = opened(SENTINELS, max_connections=9)

    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    assert pool.max_connections == 9
    kwargs = pool.connection_kwargs
    assert (kwargs["db"], kwargs["username"], kwargs["password"]) == (2, "ada", "p@ss/w#rd")
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == [
        ("s1.example.org", 26380),
        ("s2.example.org", 26379),
    ]
    assert {each["socket_timeout"] for each in asked} == {2}


def test_cache_settings__sentinel_master_with_capitals_is_refused() -> None:
    # django-redis takes the name for a host, and makes its letters small.
    assert "names the master 'MyMaster'" in refusal("redis-sentinel://s1/MyMaster")


def test_cache_settings__sentinel_without_a_login() -> None:
    kwargs = connection("redis-sentinel://s1/mymaster")

    assert (kwargs["db"], kwargs.get("username"), kwargs.get("password")) == (0, None, None)


@pytest.mark.parametrize("url", ["redis://cache/0", "rediss://cache/0", "unix:///run/redis.sock", SENTINELS])
def test_cache_settings__values_are_plain_data(url: str) -> None:
    settings = cache_settings(url, max_connections=7)

    codec: Any = codec_of(RedisCache(settings["LOCATION"], {"OPTIONS": settings["OPTIONS"]}))
    encoded = codec.encode({"name": "Ada"})

    assert encoded == b"\xc1\x81\xa4name\xa3Ada"
    assert codec.decode(encoded) == {"name": "Ada"}
    with pytest.raises(TypeError):
        codec.encode(object())
    long = codec.encode("a" * 10_000)
    assert len(long) < 100
    assert codec.decode(long) == "a" * 10_000


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ada:secret@cache/0", "http://ada:***@cache/0"),
        ("cache:6379", "cache:6379"),
        ("localhost", "localhost"),
        ("", ""),
        ("redis+sentinel://:secret@cache/0?password=secret", "redis+sentinel://:***@cache/0"),
    ],
)
def test_cache_settings__unknown_scheme(url: str, shown: str) -> None:
    assert refusal(url) == (
        f"REDIS_URL is {shown!r}: expected an address that begins with redis://, rediss://, unix://, "
        "redis-sentinel://."
    )


def test_cache_settings__address_that_cannot_be_read() -> None:
    message = refusal("redis://:secret@[::1/0")

    assert message.startswith("REDIS_URL ")
    assert "secret" not in message


@pytest.mark.parametrize(
    "url", ["redis://cache:port/0", "redis://:secret@cache:99999/0", "redis://:se/cret@cache/0"]
)
def test_cache_settings__port_that_is_none(url: str) -> None:
    message = refusal(url)

    assert message.startswith("REDIS_URL")
    assert "cret" not in message


def test_cache_settings__address_with_a_letter_that_looks_like_a_slash() -> None:
    assert "cret" not in refusal("redis://:se\u2100cret@cache/0")


@pytest.mark.parametrize("variable", ["REDIS_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize("rest", ["", "/", "/mymaster/x", "/mymaster/1/2", "/mymaster/-1", "/mymaster/1.5"])
def test_sentinel_address__without_a_master_and_a_database(variable: str, rest: str) -> None:
    message = refusal(f"redis-sentinel://ada:secret@s1,s2{rest}", variable)

    assert message == f"{variable} is 'redis-sentinel://ada:***@s1,s2{rest}': {EXPECTED}"


def test_sentinel_address__without_a_host() -> None:
    message = refusal("redis-sentinel:///mymaster/1")

    assert message.startswith("REDIS_URL is 'redis-sentinel:/")
    assert message.endswith(EXPECTED)


@pytest.mark.parametrize(
    ("hosts", "wrong"), [("s1:port", "s1:port"), ("s1,,s2", ""), (":26379", ":26379"), ("s1,", "")]
)
def test_sentinel_address__host_that_is_none(hosts: str, wrong: str) -> None:
    message = refusal(f"redis-sentinel://:secret@{hosts}/mymaster")

    assert message == f"REDIS_URL: {wrong!r} is not HOST or HOST:PORT."


@pytest.mark.parametrize("rest", ["s1:26379/mymaster/1", "s1"])
def test_sentinel_address__password_that_is_not_escaped(rest: str) -> None:
    message = refusal(f"redis-sentinel://:topse/cret@{rest}")

    assert "topse" not in message
    assert "cret" not in message


@pytest.mark.parametrize(
    ("path", "master", "database"), [("/m", "m", 0), ("/m/", "m", 0), ("/m/3", "m", 3), ("/m/3/", "m", 3)]
)
def test_sentinel_address__path(path: str, master: str, database: int) -> None:
    address = sentinel_address(f"redis-sentinel://s1{path}", "REDIS_URL")

    assert (address.master, address.database) == (master, database)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@broker:6379/0",
        "rediss://broker:6380/0",
        "amqp://ada:secret@rabbit//",
        "sqs://",
        "memory://",
        "sentinel://s1:26379/0;sentinel://s2:26379/0",
        "redis+socket:///run/redis.sock",
    ],
)
def test_broker_settings__address_that_celery_knows(url: str) -> None:
    assert broker_settings(url) == {"url": url, "transport_options": {}}


def test_broker_settings__unix() -> None:
    assert broker_settings("unix:///run/redis.sock") == {
        "url": "redis+socket:///run/redis.sock",
        "transport_options": {},
    }
    assert (
        broker_settings("unix://:p%40ss@/run/redis.sock")["url"] == "redis+socket://:p%40ss@/run/redis.sock"
    )


def test_broker_settings__database_of_a_unix_socket() -> None:
    assert (
        broker_settings("unix:///run/redis.sock?db=2")["url"]
        == "redis+socket:///run/redis.sock?virtual_host=2"
    )


def test_broker_settings__sentinel() -> None:
    broker = broker_settings("redis-sentinel://ada:secret@s1:26380,s2/mymaster/2")

    assert broker == {
        "url": "sentinel://ada:secret@s1:26380/2;sentinel://ada:secret@s2:26379/2",
        "transport_options": {
            "master_name": "mymaster",
            "sentinel_kwargs": {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": None},
        },
    }


def test_broker_settings__sentinel_without_a_login() -> None:
    broker = broker_settings("redis-sentinel://s1,s2/mymaster")

    assert broker["url"] == "sentinel://s1:26379/0;sentinel://s2:26379/0"


def test_broker_settings__sentinel_with_a_password_alone() -> None:
    assert broker_settings("redis-sentinel://:secret@s1/mymaster")["url"] == "sentinel://:secret@s1:26379/0"


def test_broker_settings__sentinel_with_a_password_of_special_characters() -> None:
    for url in broker_settings(SENTINELS)["url"].split(";"):
        read = parse_url(url)
        assert (read["userid"], read["password"]) == ("ada", "p@ss/w#rd")
        assert read["virtual_host"] == "2"
        assert read["hostname"] in ("s1.example.org", "s2.example.org")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("redis://ada:secret@host:6379/0", "redis://ada:***@host:6379/0"),
        ("redis://:se@cret@host/0", "redis://:***@host/0"),
        ("redis://:se:cret@host/0", "redis://:***@host/0"),
        ("redis://ada@host/0", "redis://ada@host/0"),
        ("redis://host/0?password=secret", "redis://host/0"),
        ("unix://:secret@/run/redis.sock?db=1", "unix://:***@/run/redis.sock"),
        ("redis-sentinel://:secret@h1:1,h2:2/m/1", "redis-sentinel://:***@h1:1,h2:2/m/1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
    ],
)
def test_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(
    password=st.text(string.printable, min_size=8, max_size=30),
    scheme=st.sampled_from(["redis", "rediss", "unix", "redis-sentinel", "postgres"]),
)
def test_masked__never_shows_an_escaped_password(password: str, scheme: str) -> None:
    escaped = quote(password, safe="!$&'()*+,;=:-._~")
    assume("***" not in password)

    shown = masked(f"{scheme}://ada:{escaped}@example.org:6379/0")

    assert shown == f"{scheme}://ada:***@example.org:6379/0"


@pytest.mark.parametrize("password", ["topse/cret", "topse#cret", "topse?cret"])
def test_masked__password_that_is_not_escaped(password: str) -> None:
    shown = masked(f"redis://:{password}@host/0")

    assert "topse" not in shown
    assert "cret" not in shown


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "redis-sentinel:///mymaster/1"])
def test_masked__address_without_a_host(url: str) -> None:
    assert masked(url) == url


def test_masked__address_that_cannot_be_read() -> None:
    assert "secret" not in masked("redis://:secret@[::1")
