"""The store on a Redis Cluster: the contract, and what moving slots and lost nodes do to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache

from embedded.redis_cluster import RedisCluster
from tests.package.stores.contract import FencedContract
from warmer.stores import Claim, Token
from warmer.stores.redis.cluster_calls import slot_of


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    running = RedisCluster().start()
    yield running
    running.stop()


class TestCluster(FencedContract):
    @pytest.fixture
    def caches(self, cluster: RedisCluster) -> dict[str, Any]:
        backend = "warmer.stores.redis.backend.RedisCache"
        return {"default": {"BACKEND": backend, "LOCATION": cluster.url}}

    @pytest.fixture
    def redis_client(self, _use: None) -> Any:
        return cache.client.get_client()

    def token_of(self, claim: Claim, key: str) -> Token:
        token: Any = claim.token
        return token.slots[slot_of(f":1:{key}")]
