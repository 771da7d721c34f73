"""`REDIS_URL` and `CELERY_BROKER_URL`: what the clients get, and that no error shows a password."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django_redis.pool import ConnectionFactory
from kombu import Connection
from kombu.utils.url import parse_url
from redis import BlockingConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelConnectionPool

from config.redis_url import broker_settings, cache_settings
from embedded.redis_server import RedisServer
from tests.package.doctor.sentinels import Sentinel
from tests.package.doctor.tls import CERTIFICATE, in_front_of
from warmer.stores.redis.backend import RedisCache

SENTINELS = "redis-sentinel://ada:p%40ss%2Fw%23rd@s1.example.org:26380,s2.example.org/mymaster/2"


@pytest.fixture(autouse=True)
def _no_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    # django-redis keeps a pool for each address, for as long as the process lives.
    monkeypatch.setattr(ConnectionFactory, "_pools", {})


def opened(url: str, *, max_connections: int = 7) -> Any:
    """Return the connection pool that a cache of these settings uses; it is not connected."""
    settings = cache_settings(url, max_connections=max_connections)
    assert settings["BACKEND"] == "warmer.stores.redis.backend.RedisCache"
    cache = RedisCache(settings["LOCATION"], {"OPTIONS": settings["OPTIONS"]})
    return cache.client.get_client(write=True).connection_pool


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
        ("redis://cache.example.org", {"host": "cache.example.org", "password": None}),
        ("redis://cache.example.org:6380/3", {"host": "cache.example.org", "port": 6380, "db": 3}),
        ("redis://ada:secret@cache/0", {"username": "ada", "password": "secret"}),
        ("redis://:p%40ss%2Fw%3A%23rd%25@cache/1", {"host": "cache", "db": 1, "password": "p@ss/w:#rd%"}),
        ("redis://cache?db=4", {"host": "cache", "db": 4}),
        ("redis://[::1]:6380/1", {"host": "::1", "port": 6380, "db": 1}),
        ("rediss://:secret@cache:6380/1", {"host": "cache", "port": 6380, "password": "secret"}),
        ("rediss://cache?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none"}),
        ("rediss://cache?ssl_check_hostname=0", {"ssl_cert_reqs": "required", "ssl_check_hostname": False}),
        ("unix://:p%40ss@/run/redis.sock?db=2", {"path": "/run/redis.sock", "password": "p@ss", "db": 2}),
        (SENTINELS, {"username": "ada", "password": "p@ss/w#rd", "db": 2}),
        ("redis-sentinel://s1/mymaster/", {"username": None, "password": None, "db": 0}),
    ],
)
def test_cache_settings__connect_as_the_address_says_and_give_up_in_time(url: str, expected: dict[str, Any]) -> None:
    pool = opened(url, max_connections=9)
    kwargs = pool.connection_kwargs
    assert {name: kwargs.get(name) for name in expected} == expected
    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (0.5, 0.5)
    assert kwargs["health_check_interval"] == 30
    assert kwargs["retry"].get_retries() == 1
    assert pool.max_connections == 9
    assert isinstance(pool, BlockingConnectionPool)  # threads wait for a free connection
    assert pool.timeout == 2


def test_cache_settings__encrypted_socket_and_sentinel_connections() -> None:
    assert opened("rediss://cache/0").connection_class is SSLConnection
    assert opened("unix:///run/redis.sock").connection_class is UnixDomainSocketConnection
    pool = opened(SENTINELS)
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"], each["socket_timeout"]) for each in asked] == [
        ("s1.example.org", 26380, 0.5),
        ("s2.example.org", 26379, 0.5),
    ]


@pytest.mark.parametrize("variable", ["REDIS_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize("rest", ["", "/mymaster/x", "/mymaster/1/2", "/mymaster/-1"])
def test_sentinel__needs_a_master_and_a_database(variable: str, rest: str) -> None:
    shown = f"redis-sentinel://***@s1,s2{rest}"
    assert refusal(f"redis-sentinel://ada:secret@s1,s2{rest}", variable) == (
        f"{variable} is {shown!r}: expected redis-sentinel://host:26379,host2:26379/NAME-OF-THE-MASTER/DATABASE-NUMBER."
    )


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://ada:topse@cache/0", "'http://***@cache/0': expected an address that begins with redis://"),
        ("redis+sentinel://:topse@cache/0?password=topse", "'redis+sentinel://***@cache/0'"),
        *(
            (url, "REDIS_URL is '***': expected an address that begins with redis://")
            for url in (
                "cache:6379",
                ":topse@cache:6379/0",
                "redis//:topse@cache",
                "redis:/:topse@cache:6379/0",
                "redis:topse@cache:6379/0",
                "topse",
            )
        ),
        ("redis://cache:6379:topse", "REDIS_URL is 'redis://***'"),
        ("redis://cache:topse/0", "REDIS_URL is 'redis://***'"),
        ("redis://topse@cache:port/0", "REDIS_URL is 'redis://***'"),
        ("", "''"),
        ("redis://:topse@[::1/0", "REDIS_URL "),
        ("redis://cache:port/0", "REDIS_URL"),
        ("redis://:topse@cache:99999/0", "REDIS_URL"),
        ("redis://:topse/cret@cache/0", "REDIS_URL"),
        ("redis://:topse\u2100cret@cache/0", "REDIS_URL"),  # it looks like a slash
        # django-redis takes the name for a host, and makes its letters small.
        ("redis-sentinel://s1/MyMaster", "names the master 'MyMaster'"),
        ("redis-sentinel:///mymaster/1", "REDIS_URL is 'redis-sentinel:/"),
        ("redis://cache/0?db=0&tls=topse", "the parameter 'tls': redis:// knows db"),
        ("redis://cache/0?ssl_cert_reqs=none", "the parameter 'ssl_cert_reqs': redis:// knows db"),
        ("rediss://cache/0?ssl_cert_reqs=never", "ssl_cert_reqs='never': expected none, optional or"),
        ("redis://cache?db=one", "db='one': expected an integer"),
        ("redis://ada:1?topse=x@cache/0", "REDIS_URL is 'redis://***'"),
        ("redis-sentinel://s1/mymaster?password=topse", "knows sentinel_password, sentinel_username"),
        ("redis-sentinel://::1/mymaster", "'redis-sentinel://***': each server is HOST or HOST:PORT, with IPv6"),
        ("redis-sentinel://:topse@s1:port/mymaster", "each server is HOST or HOST:PORT"),
        ("redis-sentinel://:topse@s1,,s2/mymaster", "each server is HOST or HOST:PORT"),
        ("redis-sentinel://:topse@:26379/mymaster", "each server is HOST or HOST:PORT"),
        ("redis-sentinel://:topse/cret@s1:26379/mymaster/1", "REDIS_URL"),
        ("redis-cluster://:topse@one:6379/1", "A cluster has no database but 0."),
        ("redis-cluster://", "expected redis-cluster://"),
        ("redis-cluster://:topse@one:port", "each server is HOST or HOST:PORT"),
        ("redis-cluster://:topse@one:6379?db=1", "the parameter 'db'"),
    ],
)
def test_cache_settings__refused_without_showing_the_password(url: str, told: str) -> None:
    message = refusal(url)
    assert message.startswith("REDIS_URL")
    assert told in message
    assert "topse" not in message
    assert "cret" not in message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        *(
            (url, url)
            for url in (
                "redis://:secret@broker:6379/0",
                "redis://[::1]:6380/0",
                "amqp://ada:secret@rabbit//",
                "sqs://",
                "memory://",
                "sentinel://s1:26379/0;sentinel://s2:26379/0",
                "redis+socket:///run/redis.sock",
            )
        ),
        ("redis://broker?db=3", "redis://broker/3"),
        # Without a word kombu would not check the certificate, where redis-py does.
        ("rediss://broker:6380/0", "rediss://broker:6380/0?ssl_cert_reqs=required"),
        ("rediss://broker/0?ssl_cert_reqs=CERT_NONE", "rediss://broker/0?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix://:p%40ss@/run/redis.sock", "redis+socket://:p%40ss@/run/redis.sock"),
        ("unix:///run/redis.sock?db=2", "redis+socket:///run/redis.sock?virtual_host=2"),
    ],
)
def test_broker_settings__address_for_celery(url: str, expected: str) -> None:
    assert broker_settings(url) == {"url": expected, "transport_options": {}}


def test_broker_settings__sentinel() -> None:
    broker = broker_settings(SENTINELS)
    assert broker["transport_options"] == {
        "master_name": "mymaster",
        "sentinel_kwargs": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": None},
    }
    read = [parse_url(url) for url in broker["url"].split(";")]
    assert [(each["hostname"], each["port"]) for each in read] == [("s1.example.org", 26380), ("s2.example.org", 26379)]
    for each in read:
        assert (each["userid"], each["password"], each["virtual_host"]) == ("ada", "p@ss/w#rd", "2")
    without_login = broker_settings("redis-sentinel://s1,s2/mymaster")
    assert without_login["url"] == "sentinel://s1:26379/0;sentinel://s2:26379/0"
    password_alone = broker_settings("redis-sentinel://:secret@s1/mymaster")
    assert password_alone["url"] == "sentinel://:secret@s1:26379/0"


def test_sentinel__ipv6_and_a_password_of_its_own() -> None:
    url = "redis-sentinel://:topse@[::1]:26380,[fe80::2],s3/mymaster/2?sentinel_password=of%40its&sentinel_username=ada"
    asked = [each.connection_pool.connection_kwargs for each in opened(url).sentinel_manager.sentinels]
    places = [("::1", 26380), ("fe80::2", 26379), ("s3", 26379)]
    assert [(each["host"], each["port"]) for each in asked] == places
    assert {(each["username"], each["password"]) for each in asked} == {("ada", "of@its")}
    broker = broker_settings(url)
    read = [parse_url(each) for each in broker["url"].split(";")]
    assert [(each["hostname"], each["port"], each["password"]) for each in read] == [
        (*place, "topse") for place in places
    ]
    sentinel_kwargs = broker["transport_options"]["sentinel_kwargs"]
    assert (sentinel_kwargs["username"], sentinel_kwargs["password"]) == ("ada", "of@its")


@pytest.mark.parametrize("check", ["", "&ssl_check_hostname=no"])
def test_sentinel__tls_to_sentinels_and_master(tmp_path: Path, check: str) -> None:
    with (
        RedisServer() as server,
        in_front_of(server.port, CERTIFICATE) as master,
        Sentinel(folder=tmp_path, master=master, down_after_ms=600_000) as sentinel,
        in_front_of(sentinel.port, CERTIFICATE) as port,
    ):
        url = f"rediss-sentinel://127.0.0.1:{port}/mymaster/0?ssl_ca_certs={CERTIFICATE}{check}"
        with Redis(connection_pool=opened(url)) as client:
            assert client.set("key", "value")
        broker = broker_settings(url)
        with Connection(broker["url"], transport_options=broker["transport_options"]) as connection:
            assert connection.default_channel.client.get("key") == b"value"


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("redis-cluster://one:6379,two:6380", ""),
        ("redis-cluster://ada:secret@one,[::1]:6380/0", ""),
        ("rediss-cluster://one:6379?ssl_ca_certs=/etc/ca.pem", "&ssl_cert_reqs=required"),
    ],
)
def test_cluster__is_a_location_of_its_own(url: str, more: str) -> None:
    assert cache_settings(url, max_connections=7)["LOCATION"] == url.removesuffix("/0") + more


def test_cluster__is_no_broker() -> None:
    text = refusal("redis-cluster://:secret@one:6379", "CELERY_BROKER_URL")
    assert text == (
        "CELERY_BROKER_URL is 'redis-cluster://***@one:6379': Celery cannot use a Redis Cluster. Give it a "
        "server of its own, e.g. redis://host:6379/0."
    )
