"""Two processes compare their caches: what is one cache is never told apart, what differs is named."""

import json
from typing import Any

import pytest

from embedded.redis_server import RedisCluster, RedisServer
from tests.package.doctor.support import PASSWORD, cache_entry, configure
from tests.servers import CACHE_DATABASE
from tests.support.clusters import cluster_caches
from warmer.stores import describe_cache, difference

PLAIN = "django.core.cache.backends.filebased.FileBasedCache"


def described(settings: Any, *, later: float = 0.0, **changes: Any) -> str:
    """Return how another process describes the cache so many seconds later; its settings differ so."""
    here = settings.CACHES
    settings.CACHES = {"default": {**here["default"], **changes}}
    try:
        found = json.loads(describe_cache("default"))
        return json.dumps({**found, "at": found["at"] + later})
    finally:
        settings.CACHES = here


def test_difference__none_nor_after_a_restart_of_the_server(settings: Any, redis_server: RedisServer) -> None:
    other_name = f"redis://localhost:{redis_server.port}/{CACHE_DATABASE}"
    before = [described(settings, LOCATION=other_name), describe_cache("default"), ""]  # nothing is known
    assert [difference(theirs, "default") for theirs in before] == ["", "", ""]
    redis_server.restart()
    for theirs in (*before, described(settings, LOCATION=other_name)):
        assert difference(theirs, "default") == ""


@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        ({"KEY_PREFIX": "old"}, "'old:1:key'"),
        ({"VERSION": 2}, "':2:key'"),
        ({"KEY_FUNCTION": "tests.package.stores.test_comparison.upper"}, "'KEY'"),
    ],
)
def test_difference__of_names(settings: Any, changes: dict[str, Any], theirs: str) -> None:
    found = difference(described(settings, **changes), "default", here="on the worker")
    assert f"'key' is stored as {theirs} on " in found
    assert found.endswith(" and as ':1:key' on the worker")


def upper(key: str, prefix: str, version: int) -> str:
    """A project's own `KEY_FUNCTION`."""
    return key.upper()


def test_difference__of_servers_and_databases(settings: Any, redis_server: RedisServer) -> None:
    with RedisServer() as other:
        configure(other, requirepass=PASSWORD)
        theirs = described(settings, later=2, LOCATION=f"redis://:{PASSWORD}@127.0.0.1:{other.port}/0")
        assert f"it is at 127.0.0.1:{other.port}/0 " in difference(theirs, "default")
        assert PASSWORD not in theirs
    assert f":{redis_server.port}/5 " in difference(
        described(settings, later=2, LOCATION=redis_server.url(5)), "default"
    )


def test_difference__unknown(settings: Any) -> None:
    """A server that does not answer has no id, and other caches have addresses that may be one place."""
    with RedisServer() as gone:
        url = gone.url()
    assert difference(described(settings, **cache_entry(url)), "default") == ""
    assert difference(described(settings, BACKEND=PLAIN, LOCATION="/tmp/other", OPTIONS={}), "default") == ""


def test_difference__of_a_cluster_and_a_server(settings: Any, cluster: RedisCluster) -> None:
    server = describe_cache("default")
    there = cluster_caches(cluster)["default"]
    found = difference(described(settings, later=2, **there), "default", here="on the worker")
    assert found.startswith("it is at a Redis Cluster on ")
    settings.CACHES = {"default": there}
    assert difference(server, "default").endswith(" and at a Redis Cluster here")
    assert difference(describe_cache("default"), "default") == ""
