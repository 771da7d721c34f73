"""A Redis Cluster: named where the settings take it for a single server, and looked at whole."""

import json
from collections import Counter
from typing import Any

import pytest
from django.test import Client

from config.redis_url import cache_settings
from embedded.ports import free_port
from embedded.redis_server import RedisCluster
from tests.package.doctor.support import Examine, Serve, configure, expect
from tests.support.clusters import cluster_caches
from tests.support.commands import execute
from warmer.doctor.check import Severity
from warmer.doctor.diagnosis import CHECKS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
BACKEND = "warmer.stores.redis.backend.RedisCache"
NODES = range(3)


@pytest.mark.parametrize("node", NODES)
def test_node__taken_for_a_single_server(examine: Examine, cluster: RedisCluster, settings: Any, node: int) -> None:
    port = cluster.nodes[node].port
    settings.CACHES = {"default": cache_settings(f"redis://127.0.0.1:{port}/0", max_connections=5)}
    expect(examine("reachability"), "error", fix=f'CACHES["default"]["LOCATION"] = "redis-cluster://127.0.0.1:{port}"')
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert "redis-cluster://" in response.json()["checks"]["cache:default"]["why"]
    done = execute("warm_cache", "--inline")
    assert (done.status, "redis-cluster://" in done.error) == (1, True)


def test_node__without_slots(examine: Examine, serve: Serve) -> None:
    server = serve(cluster_enabled="yes", cluster_port=str(free_port()))
    for check in ("reachability", "writes"):
        expect(examine(check, server), "error", advises="cluster mode")


def test_cluster__no_node_answers(examine: Examine) -> None:
    entry = {"BACKEND": BACKEND, "LOCATION": f"redis-cluster://127.0.0.1:{free_port()}"}
    assert examine("backend", entry).severity == "ok"
    found = examine("reachability", entry)
    assert (found.severity, found.fix.splitlines()[0]) == ("error", 'CACHES["other"]["LOCATION"] = ...')
    assert examine("maxmemory-policy", entry).severity == "skipped"


def test_cluster__every_primary_is_inspected(examine: Examine, cluster: RedisCluster, settings: Any) -> None:
    settings.CACHES = cluster_caches(cluster)
    configure(cluster.nodes[2], maxmemory="100mb", maxmemory_policy="noeviction")
    found = examine.all("maxmemory-policy")
    configure(cluster.nodes[2], maxmemory="0")
    at = {f"cache 'default' at 127.0.0.1:{node.port}/0" for node in cluster.nodes}
    assert {each.subject for each in found} == at
    assert [each.severity for each in found].count(Severity.WARNING) == 1
    assert [each.severity for each in examine.all("writes")] == ["ok"]  # once for all
    shown = json.loads(execute("cache_stats", "--json").out)["caches"]
    assert {each["location"] for each in shown} == {f"127.0.0.1:{node.port}/0" for node in cluster.nodes}


def test_cluster__every_check_of_a_server_runs_on_each(examine: Examine, cluster: RedisCluster, settings: Any) -> None:
    settings.CACHES = cluster_caches(cluster)
    found = [each for check in CHECKS if check.of_cache for each in examine.all(check.id)]
    assert not [each for each in found if each.severity.is_bad]
    counts = Counter(each.check for each in found)
    assert {name for name, count in counts.items() if count % len(NODES)} == {
        *(check.id for check in CHECKS if check.once)
    }
