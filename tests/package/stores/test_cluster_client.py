"""The client of a Redis Cluster, which does what redis-py's own does, in one round trip to each node."""

from typing import Any

import pytest
from django.core.cache import cache
from redis.exceptions import DataError, SlotNotCoveredError

from embedded.redis_server import RedisCluster
from tests.support.clusters import cluster_caches
from warmer.exceptions import StoreUnavailable
from warmer.stores import open_servers


@pytest.fixture
def client(cluster: RedisCluster, settings: Any) -> Any:
    settings.CACHES = cluster_caches(cluster)
    cache.clear()
    return cache.client.get_client()


def test_keys__as_bytes_as_the_client_lists_them(client: Any) -> None:
    cache.set_many({"thing:1": 1, "thing:2": 2})
    names = list(client.scan_iter("*thing:*"))
    assert client.exists(*names) == len(client.mget(names)) == 2
    assert client.delete(*names) == 2


def test_keys__as_numbers(client: Any) -> None:
    client.set(5, "five")
    assert client.mget([5, 1.5]) == [b"five", None]
    assert client.exists(5) == client.delete(5) == 1
    with pytest.raises(DataError):
        client.mget([None])


def test_slot__that_had_no_node_a_moment_ago(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The redis-py before 6.0 gives up."""
    node, errors = client.get_node_from_key("thing:1"), [SlotNotCoveredError()]

    def find(*_: Any, **__: Any) -> Any:
        if errors:
            raise errors.pop()
        return node

    monkeypatch.setattr(client.nodes_manager, "get_node_from_slot", find)
    assert client.get("thing:1") is None


def test_node__that_another_thread_forgets_during_a_call(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not one of the cluster's primaries from then on, even if it answers."""
    manager = client.nodes_manager
    find = manager.get_node_from_slot

    def find_and_forget(slot: int) -> Any:
        node = find(slot)
        monkeypatch.delitem(manager.nodes_cache, node.name)
        return node

    monkeypatch.setattr(manager, "get_node_from_slot", find_and_forget)
    assert client.mget(["thing:1"]) == [None]
    assert len(client.get_primaries()) == 2


def test_servers__of_a_cluster_whose_node_hangs(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisCluster() as cluster:
        settings.CACHES = cluster_caches(cluster)
        settings.CACHES["default"]["LOCATION"] += "?socket_timeout=0.2"
        client, by_port = cache.client.get_client(), {node.port: node for node in cluster.nodes}
        monkeypatch.setattr(client, "refresh", lambda: by_port[client.get_default_node().port].pause())
        with pytest.raises(StoreUnavailable, match="The cache 'default' does not answer: TimeoutError"):
            open_servers("default")
