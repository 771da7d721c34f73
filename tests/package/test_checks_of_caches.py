"""System checks of caches: each has a test that is named after its id."""

import sys
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject
from django_redis.client import DefaultClient
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from config.redis_url import cache_settings
from embedded.redis_server import RedisCluster
from myapp.models import Post
from tests.support.checks import assert_found, declare_keyed, declare_single, found
from warmer import jobs
from warmer.exceptions import StoreUnavailable
from warmer.keys import KeyTemplate
from warmer.monitoring.middleware import CacheMonitoringMiddleware
from warmer.stores import open_store

DUMMY = "django.core.cache.backends.dummy.DummyCache"
REDIS = "django_redis.cache.RedisCache"
OURS = "warmer.stores.redis.backend.RedisCache"
CLUSTER = "warmer.stores.redis.cluster.ClusterClient"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"

pytestmark = pytest.mark.usefixtures("empty_registry")


class EagerClient(DefaultClient):
    """As django-redis-sentinel's client, while no Sentinel answers."""

    error: type[Exception] = RedisConnectionError

    def connect(self, *_args: Any, **_kwargs: Any) -> Any:
        raise self.error("No master found")


class WaitingClient(EagerClient):
    """One whose server hangs."""

    error = RedisTimeoutError


class AsyncCache(BaseCache):
    """As django-valkey's `AsyncValkeyCache`."""

    def __init__(self, _location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    async def get(self, key: Any, default: Any = None, version: Any = None) -> Any:  # type: ignore[override]
        return default


def use(settings: Any, id: str, alias: str, **entry: Any) -> None:
    """Use a cache with two jobs, and forget what was found before."""
    settings.CACHES = {**settings.CACHES, alias: entry}
    declare_single("other")
    assert not found(id)  # no job uses it
    declare_single("one", cache=alias)
    declare_single("two", cache=alias)


@pytest.fixture(autouse=True)
def _plain_cache(settings: Any) -> None:
    """Add a second cache, without an atomic fence."""
    settings.CACHES = {**settings.CACHES, "plain": {"BACKEND": LOCMEM}}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"BACKEND": "django_redis.cache.RedisCach"}, 'does not define a "RedisCach"'),
        ({"BACKEND": LOCMEM, "KEY_FUNCTION": "nowhere.at_all"}, "No module named 'nowhere'"),
        ({}, "KeyError: 'BACKEND'"),
        ({"BACKEND": f"{__name__}.AsyncCache"}, "its methods are coroutines"),
        *(
            ({"BACKEND": backend, "LOCATION": location}, f"CACHES['broken']['LOCATION'] = {shown}: ValueError")
            for backend in (REDIS, "django.core.cache.backends.redis.RedisCache", OURS)
            for location, shown in (
                ("redi://app:s3cr3t@localhost:1/0", "'redi://***@localhost:1/0'"),
                ("localhost:1", "'***'"),
                (["redi://app:s3cr3t@one", "redis://two:1/0"], "'redi://***@one,redis://two:1/0'"),
            )
        ),
        *(
            ({"BACKEND": OURS, "LOCATION": location}, f"= '{shown}': ValueError: expected redis-cluster://HOST:PORT")
            for location, shown in (
                ("redis-cluster://app:s3cr3t@one:port,two:2", "redis-cluster://***"),
                ("redis-cluster://app:s3cr3t@one:1,two:99999", "redis-cluster://***@one:1,two:99999"),
                ("redis-cluster://:s3,cr3t@one:1/2", "redis-cluster://***@one:1/2"),
                ("rediss-cluster://", "rediss-cluster://"),
            )
        ),
        (
            {"BACKEND": OURS, "LOCATION": ["redis-cluster://:s3cr3t@one:1"], "OPTIONS": {"CLIENT_CLASS": CLUSTER}},
            "= '***': ValueError: expected redis-cluster://HOST:PORT",
        ),
    ],
)
def test_e002__cache_that_cannot_be_used(settings: Any, entry: dict[str, Any], says: str) -> None:
    # From its first request on, the middleware wraps the methods of each cache.
    CacheMonitoringMiddleware(lambda _request: HttpResponse())(RequestFactory().get("/"))
    use(settings, "E002", "broken", **entry)
    setting = '["LOCATION"] = "redis://:PASSWORD@HOST' if "LOCATION" in entry else '["BACKEND"] = '
    assert_found("E002", says=says, hint=f'CACHES["broken"]{setting}')
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        open_store(alias="broken", template=KeyTemplate.parse("one", keyed=False), timeout=1.0)


@pytest.mark.parametrize(
    ("backend", "location", "options"),
    [
        (OURS, "redis://localhost:1", {"CONNECTION_POOL_KWARGS": {"decode_responses": True}}),
        (OURS, "redis-cluster://localhost:1", {"CONNECTION_POOL_KWARGS": {"decode_responses": True}}),
        (OURS, "redis-cluster://localhost:1,localhost:2?decode_responses=true", {}),
        ("django.core.cache.backends.redis.RedisCache", "redis://localhost:1", {"decode_responses": True}),
    ],
)
def test_e002__answers_as_text(settings: Any, backend: str, location: str, options: dict[str, Any]) -> None:
    use(settings, "E002", "broken", BACKEND=backend, LOCATION=location, OPTIONS=options)
    assert_found("E002", says="decode_responses=True", hint="Remove decode_responses")
    assert jobs["one"].get() == []


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("redis://localhost:1/0", {}),
        ("rediss://localhost:1/0", {}),
        ("unix:///no/such.sock", {}),
        ("redis-cluster://localhost:1,localhost:2", {}),
        ("rediss-cluster://localhost:1", {}),
        (
            "redis://mymaster/0",
            {
                "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "SENTINELS": [("localhost", 1)],
            },
        ),
        ("redis://localhost:1/0", {"CLIENT_CLASS": f"{__name__}.EagerClient"}),
        ("redis://localhost:1/0", {"CLIENT_CLASS": f"{__name__}.WaitingClient"}),
    ],
)
def test_e002__accepted_addresses(settings: Any, location: str, options: dict[str, Any]) -> None:
    use(settings, "E002", "away", BACKEND=OURS, LOCATION=location, OPTIONS=options)
    assert not found("E002")


tenant: ContextVar[str] = ContextVar("tenant", default="public")
required_tenant: ContextVar[SimpleNamespace] = ContextVar("required_tenant")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda key, prefix, version: f"{version}/{prefix}/{key}", ""),
        (lambda key, *_: f"{tenant.get()}:{key}", "'public:key' and 'warmer-check:key'"),
        (lambda key, *_: f"{required_tenant.get().schema}:{key}", "LookupError"),
        # As in django-tenants.
        (lambda key, *_: f"{connection.schema_name}:{key}", "'public:key' and 'warmer-check:key'"),  # type: ignore[attr-defined]
    ],
)
def test_e005__key_function_that_depends_on_the_caller(
    settings: Any, monkeypatch: pytest.MonkeyPatch, function: Any, says: str
) -> None:
    monkeypatch.setattr(connection, "schema_name", "public", raising=False)
    lazy = ModuleType("lazy")
    vars(lazy)["user"] = SimpleLazyObject(lambda: pytest.fail("It was evaluated"))
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    use(settings, "E005", "tenants", BACKEND=REDIS, LOCATION="redis://localhost:1", KEY_FUNCTION=function)
    if says:
        assert_found("E005", says=says, hint="put the tenant into the id")
    else:
        assert not found("E005")
    assert (connection.schema_name, tenant.get()) == ("public", "public")  # type: ignore[attr-defined]


def test_w006__cache_that_keeps_nothing(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "none": {"BACKEND": DUMMY}}
    declare_single("one", cache="plain")
    declare_single("two")
    assert not found("W006")
    declare_keyed("swept", cache="none", depends_on=[Post])
    assert_found("W006", says="'none'", hint="FileBasedCache")
    assert not found("W002")


def test_w001__cache_without_an_atomic_fence_in_production(settings: Any, tmp_path: Path) -> None:
    settings.DEBUG = False
    use(settings, "W001", "files", BACKEND="django.core.cache.backends.filebased.FileBasedCache", LOCATION=tmp_path)
    assert_found("W001", says="'files'", hint="RedisCache")
    settings.DEBUG = True
    assert not found("W001")


def test_w009__cache_in_the_memory_of_each_process(settings: Any, celery_conf: dict[str, Any]) -> None:
    settings.DEBUG = False
    assert not found("W009")  # no job uses it
    declare_single("one", cache="plain")
    assert_found("W009", says="'plain'", hint="SILENCED_SYSTEM_CHECKS")
    assert not found("W001")
    settings.DEBUG = True
    assert not found("W009")  # tasks run in this process
    celery_conf["task_always_eager"] = False
    assert found("W009")


@pytest.mark.parametrize("debug", [False, True])
def test_w002__cache_that_cannot_find_the_keys_of_a_job(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    declare_keyed("with_ids", cache="plain", depends_on={Post: "id"})
    declare_keyed("alone", cache="plain")
    declare_single("single", cache="plain", depends_on=[Post])
    declare_keyed("on_redis", depends_on=[Post])
    assert not found("W002")
    declare_keyed("swept", cache="plain", depends_on=[Post])
    declare_keyed("also_swept", cache="plain", depends_on=["myapp.Comment"])
    assert_found("W002", says="all keys of swept, also_swept when", hint="depends_on={Model: 'field'}")


@pytest.mark.django_db(transaction=True)
def test_w015__cluster_at_the_address_of_a_single_server(cluster: RedisCluster, settings: Any) -> None:
    declare_single("posts")
    settings.CACHES = {"default": cache_settings(cluster.nodes[0].url(), max_connections=5)}
    says, hint = "is a node of a Redis Cluster", "redis-cluster://"
    assert_found("W015", says=says, hint=hint, databases=["default"])
    assert not found("W015")  # which connects to nothing
    settings.CACHES = {"default": cache_settings("redis://127.0.0.1:1/0", max_connections=5)}
    assert not found("W015", databases=["default"])  # it may be down for now
