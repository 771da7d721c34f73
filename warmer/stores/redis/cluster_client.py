"""A client of django-redis for a Redis Cluster; all of a process share one set of connections."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django_redis.client import DefaultClient
from django_redis.exceptions import ConnectionInterrupted
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisClusterException
from redis.retry import Retry

from warmer.report import describe
from warmer.stores.redis.cluster_calls import Cluster, node_at

_LOCATION = re.compile(
    r"redis(?P<tls>s?)-cluster://(?P<login>.*@)?(?P<nodes>[^/?@]+)(?:/0?)?(?P<query>\?.*)?"
)


_clusters: dict[str, Cluster] = {}

# The locks of a client may be held by threads that a child does not have.
os.register_at_fork(after_in_child=_clusters.clear)


def connect(location: str, options: Mapping[str, Any]) -> Cluster:
    """Return this process's client of a cluster; the first call connects.

    Args:
        location: `redis-cluster://[user:password@]host:6379,host2:6379`, or `rediss-cluster://` for TLS.
        options: the `OPTIONS` of the cache.

    Raises:
        ConnectionError: none of the nodes answers.
    """
    # Each node's own retries would come on top of the cluster's. Nor may a pool be one that blocks: its idle
    # connections are closed, as the client refreshes its list of nodes, while another thread takes them.
    pool = {k: v for k, v in options.get("CONNECTION_POOL_KWARGS", {}).items() if k != "retry"}
    key = repr((location, pool))
    if key not in _clusters:
        _clusters.setdefault(key, _connect(location, pool))
    return _clusters[key]


def _connect(location: str, pool: Mapping[str, Any]) -> Cluster:
    found = _LOCATION.fullmatch(location)
    if found is None:
        raise ImproperlyConfigured(
            "The address of a Redis Cluster is redis-cluster://USER:PASSWORD@HOST:PORT,HOST:PORT, and it has "
            "no database but 0."
        )
    first, *others = found["nodes"].split(",")
    try:
        return Cluster(
            url=f"redis{found['tls']}://{found['login'] or ''}{first}{found['query'] or ''}",
            startup_nodes=[node_at(each) for each in others],
            retry=Retry(NoBackoff(), 1),
            require_full_coverage=False,
            **pool,
        )
    except RedisClusterException as error:
        raise ConnectionError(describe(error)) from error


class ClusterClient(DefaultClient):  # type: ignore[misc]  # django-redis has no types that mypy follows here
    """django-redis' client for a Redis Cluster.

    A `LOCATION` of `redis-cluster://` in `warmer.stores.redis.backend.RedisCache` uses it.
    """

    is_cluster = True

    def __init__(self, server: str, *args: Any) -> None:
        super().__init__([server], *args)

    def connect(self, index: int = 0) -> Cluster:
        """Return the cluster's client.

        Raises:
            ConnectionError: none of the nodes answers.
        """
        return connect(self._server[0], self._options)

    def get_client(self, write: bool = True, tried: list[int] | None = None) -> Cluster:
        try:
            return self.connect()
        except ConnectionError as error:
            raise ConnectionInterrupted(connection=None) from error

    def get_client_with_index(
        self, write: bool = True, tried: list[int] | None = None
    ) -> tuple[Cluster, int]:
        return self.get_client(), 0

    def set_many(self, *args: Any, **options: Any) -> None:
        try:
            super().set_many(*args, **options)
        except RedisClusterException as error:
            raise ConnectionInterrupted(connection=None) from ConnectionError(describe(error))

    def do_close_clients(self) -> None:
        """Leave the client to the other threads."""
