"""A Redis Cluster of the tests, and the settings of a cache on one."""

from collections.abc import Iterator
from typing import Any

import pytest

from embedded.redis_cluster import RedisCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    """A cluster of three nodes; a test that moves slots ends that."""
    with RedisCluster() as cluster:
        yield cluster


def cluster_caches(cluster: RedisCluster) -> dict[str, Any]:
    return {"default": {"BACKEND": "warmer.stores.redis.backend.RedisCache", "LOCATION": cluster.url}}
