"""The doctor on replicas and Sentinels."""

from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any

from config.redis_url import cache_settings
from embedded.ports import LOOPBACK
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.package.doctor.sentinels import Sentinel
from tests.package.doctor.support import Examine, Serve, expect

# A copy is sent when it is asked for, not 5 s later.
AT_ONCE = {"repl_diskless_sync_delay": "0"}


def await_info(server: RedisServer, value: Any, *path: str) -> None:
    """Wait until a server says this of its replication."""
    with server.client() as client:
        wait_until(
            lambda: reduce(lambda found, name: found.get(name, {}), path, client.info("replication")) == value,
            seconds=60,
            what=f"{path} is {value}",
        )


def replica_of(master: RedisServer, serve: Serve) -> RedisServer:
    replica = serve()
    with replica.client() as client:
        client.replicaof(LOOPBACK, master.port)
    return replica


def severities(examine: Examine, url: str) -> list[str]:
    """Return how bad what the check of the Sentinels finds is."""
    return [each.severity.value for each in examine.all("sentinel", url)]


# -- replication -----------------------------------------------------------------------------------
def test_replication__primary_and_replica(examine: Examine, serve: Serve) -> None:
    master = serve(**AT_ONCE)
    assert examine("replication", master).message == "a primary with 0 replicas"
    replica = replica_of(master, serve)
    await_info(replica, "up", "master_link_status")
    await_info(master, "online", "slave0", "state")
    assert examine("replication", master).message == "a primary with 1 replica"
    found = expect(
        examine("replication", replica),
        "error",
        fix=f'CACHES["other"]["LOCATION"] = "redis://127.0.0.1:{master.port}/0"',
    )
    assert "(link up)" in found.message
    master.kill()
    await_info(replica, "down", "master_link_status")
    assert "(link down)" in examine("replication", replica).message


def test_replication__replica_that_is_still_fetching(examine: Examine, serve: Serve) -> None:
    # Its first copy is held up, so it never gets online.
    master = serve(repl_diskless_sync="yes", repl_diskless_sync_delay="3600")
    replica_of(master, serve)
    await_info(master, 1, "connected_slaves")
    assert examine("replication", master).severity == "warning"


# -- Sentinel --------------------------------------------------------------------------------------
def test_sentinel__three_then_two_then_one_then_none(examine: Examine, serve: Serve, tmp_path: Path) -> None:
    master = serve(**AT_ONCE)
    assert examine("sentinel", master).severity == "skipped"
    await_info(replica_of(master, serve), "up", "master_link_status")
    with ExitStack() as stack:
        three = [
            stack.enter_context(Sentinel(folder=tmp_path, master=master.port, name="three", quorum=2)) for _ in range(3)
        ]
        seen = {"num-other-sentinels": 2, "num-slaves": 1}.items()
        wait_until(
            lambda: all(seen <= each.state().items() for each in three),
            seconds=60,
            what="the Sentinels have found each other and the replica",
        )
        hosts = ",".join(f"{LOOPBACK}:{each.port}" for each in three)
        url = f"redis-sentinel://{hosts}/three/0"
        assert severities(examine, url) == ["ok"]
        assert examine("reachability", url).message == "the Sentinel master 'three' answers"
        for each, severity in zip(three, ("warning", "error", "skipped"), strict=True):
            each.kill()
            assert severity in severities(examine, url)
        expect(examine("reachability", url), "error", advises="SENTINEL masters")


def test_sentinel__alone_with_a_master_that_died(examine: Examine, serve: Serve, tmp_path: Path) -> None:
    master = serve()
    with Sentinel(folder=tmp_path, master=master.port, name="alone", quorum=1) as sentinel:
        url = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/alone/0"
        fixes = " ".join(each.fix for each in examine.all("sentinel", url))
        assert severities(examine, url) == ["warning", "warning"]
        assert "REPLICAOF" in fixes
        assert "on more hosts" in fixes
        master.kill()
        wait_until(lambda: bool(sentinel.state().get("is_odown")), seconds=60, what="it is taken for down")
        assert severities(examine, url)[0] == "error"


def test_sentinel__of_another_name(examine: Examine, serve: Serve, tmp_path: Path) -> None:
    with Sentinel(folder=tmp_path, master=serve().port) as sentinel:
        url = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/another/0"
        assert cache_settings(url, max_connections=2)["LOCATION"] == "redis://another/0"
        assert "No such master" in examine("reachability", url).message


def test_sentinel__two_that_name_different_masters(examine: Examine, serve: Serve, tmp_path: Path) -> None:
    one, other = serve(), serve()
    (tmp_path / "b").mkdir()
    with (
        Sentinel(folder=tmp_path, master=one.port, name="split") as first,
        Sentinel(folder=tmp_path / "b", master=other.port, name="split") as second,
    ):
        url = f"redis-sentinel://{LOOPBACK}:{first.port},{LOOPBACK}:{second.port}/split/0"
        found = examine.all("sentinel", url)[0]
    assert found.severity == "error"
    assert all(f"127.0.0.1:{each.port}" in found.message for each in (one, other))
