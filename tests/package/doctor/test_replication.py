"""The doctor on replicas and Sentinels."""

from pathlib import Path

from config.redis_url import cache_settings
from embedded.ports import LOOPBACK
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.package.doctor.sentinels import Sentinel
from tests.package.doctor.support import Examine, Serve
from warmer.doctor.checks.connection import Reachability
from warmer.doctor.checks.durability import Replication

# A copy is sent when it is asked for, not 5 s later.
AT_ONCE = {"repl_diskless_sync_delay": "0"}


def replica_of(master: RedisServer, serve: Serve) -> RedisServer:
    replica = serve()
    with replica.client() as client:
        client.replicaof(LOOPBACK, master.port)
        wait_until(
            lambda: client.info("replication")["master_link_status"] == "up", seconds=60, what="the replica follows"
        )
    return replica


def online(master: RedisServer) -> None:
    with master.client() as client:
        wait_until(
            lambda: client.info("replication").get("slave0", {}).get("state") == "online",
            seconds=60,
            what="the replica is online",
        )


# -- replication -----------------------------------------------------------------------------------
def test_replication__primary_and_replica(examine: Examine, serve: Serve) -> None:
    master = serve(**AT_ONCE)
    assert examine(Replication(), master).message == "a primary with 0 replicas"
    replica = replica_of(master, serve)
    online(master)
    assert examine(Replication(), master).message == "a primary with 1 replica"
    found = examine(Replication(), replica)
    assert found.severity == "error"
    assert found.fix.startswith(f"REDIS_URL=redis://127.0.0.1:{master.port}/0\n")
    assert "link is down" not in found.message
    master.kill()
    with replica.client() as client:
        wait_until(
            lambda: client.info("replication")["master_link_status"] == "down",
            seconds=60,
            what="the replica lost its master",
        )
    assert "link is down" in examine(Replication(), replica).message


def test_replication__replica_that_is_still_fetching(examine: Examine, serve: Serve) -> None:
    # Its first copy is held up, so it never gets online.
    master = serve(repl_diskless_sync="yes", repl_diskless_sync_delay="3600")
    replica = serve()
    with replica.client() as client, master.client() as other:
        client.replicaof(LOOPBACK, master.port)
        wait_until(lambda: other.info("replication")["connected_slaves"] == 1, seconds=60, what="it asks for a copy")
    assert examine(Replication(), master).severity == "warning"


# -- Sentinel --------------------------------------------------------------------------------------
def test_reachability__by_a_sentinel(examine: Examine, serve: Serve, tmp_path: Path) -> None:
    with Sentinel(folder=tmp_path, master=serve().port, name="one") as sentinel:
        url = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/one/0"
        assert examine(Reachability(), url).message == "the Sentinel master 'one' answers"
        another = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/another/0"
        assert cache_settings(another, max_connections=2)["LOCATION"] == "redis://another/0"
        assert "No such master" in examine(Reachability(), another).message
    found = examine(Reachability(), url)
    assert (found.severity, "SENTINEL masters" in found.fix) == ("error", True)
