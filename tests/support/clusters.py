"""A Redis Cluster of the tests, and the settings of a cache on one."""

from collections.abc import Iterator
from typing import Any

import pytest

from embedded.redis_server import RedisCluster
from tests.support.caches import PATIENT


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    """A cluster of three nodes; a test that moves slots ends that."""
    with RedisCluster() as cluster:
        yield cluster


def cluster_caches(cluster: RedisCluster) -> dict[str, Any]:
    backend, options = "warmer.stores.redis.backend.RedisCache", {"CONNECTION_POOL_KWARGS": PATIENT}
    return {"default": {"BACKEND": backend, "LOCATION": cluster.url, "OPTIONS": options}}
