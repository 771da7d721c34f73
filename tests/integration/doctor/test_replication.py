"""The doctor on replicas and Sentinels."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from config.redis_url import cache_settings
from embedded.ports import LOOPBACK, free_port
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.integration.doctor.looking import Look, Serve, says
from tests.integration.doctor.sentinels import Sentinel
from warmer.doctor.finding import Finding
from warmer.doctor.reachability import Reachability
from warmer.doctor.replication import Replication, Sentinels

# A copy is sent when it is asked for, not 5 s later.
AT_ONCE = {"repl_diskless_sync_delay": "0"}


def replica_of(master: RedisServer, serve: Serve) -> RedisServer:
    replica = serve()
    with replica.client() as client:
        client.replicaof(LOOPBACK, master.port)
        wait_until(
            lambda: client.info("replication")["master_link_status"] == "up",
            seconds=60,
            what="the replica follows",
        )
    return replica


def online(master: RedisServer) -> None:
    with master.client() as client:
        wait_until(
            lambda: client.info("replication").get("slave0", {}).get("state") == "online",
            seconds=60,
            what="the replica is online",
        )


def found_by(look: Look, url: str) -> dict[str, str]:
    """Return what the check of the Sentinels says, with how bad it is."""
    answers = [each for each in look.all(Sentinels(), url) if isinstance(each, Finding)]
    return {each.seen: each.severity.value for each in answers}


# -- replication -----------------------------------------------------------------------------------
def test_replication__primary_alone(look: Look, serve: Serve) -> None:
    assert says(look(Replication(), serve())) == ("ok", "a primary without replicas")


def test_replication__replica_keeps_up(look: Look, serve: Serve) -> None:
    master = serve(**AT_ONCE)
    replica_of(master, serve)
    online(master)
    assert says(look(Replication(), master)) == ("ok", "a primary with 1 replica")


def test_replication__replica_that_is_still_fetching(look: Look, serve: Serve) -> None:
    # Its first copy is held up, so it never gets online.
    master = serve(repl_diskless_sync="yes", repl_diskless_sync_delay="3600")
    replica = serve()
    with replica.client() as client, master.client() as other:
        client.replicaof(LOOPBACK, master.port)
        wait_until(
            lambda: other.info("replication")["connected_slaves"] == 1, seconds=60, what="it asks for a copy"
        )
    found = look(Replication(), master)
    assert found.severity == "warning"
    assert found.seen.startswith("Replicas that do not keep up: 127.0.0.1:")


def test_replication__cache_is_at_a_replica(look: Look, serve: Serve) -> None:
    master = serve(**AT_ONCE)
    replica = replica_of(master, serve)
    found = look(Replication(), replica)
    assert says(found) == (
        "error",
        f"127.0.0.1:{replica.port}/0 is a replica of 127.0.0.1:{master.port}.",
    )
    assert found.fix.startswith(f"REDIS_URL=redis://127.0.0.1:{master.port}/0\n")


def test_replication__link_is_down(look: Look, serve: Serve) -> None:
    replica, port = serve(), free_port()
    with replica.client() as client:
        client.replicaof(LOOPBACK, port)
    found = look(Replication(), replica)
    assert says(found) == (
        "error",
        f"127.0.0.1:{replica.port}/0 is a replica of 127.0.0.1:{port}, and its link is down.",
    )


# -- Sentinel --------------------------------------------------------------------------------------
def test_sentinel__none_is_set_up(look: Look, serve: Serve) -> None:
    assert look.not_checked(Sentinels(), serve()) == "the settings name no Sentinel"


def test_sentinel__three_then_two_then_one_then_no_master(look: Look, serve: Serve, tmp_path: Path) -> None:
    master = serve(**AT_ONCE)
    replica_of(master, serve)
    with ExitStack() as stack:
        three = [
            stack.enter_context(Sentinel(folder=tmp_path, master=master.port, name="three", quorum=2))
            for _ in range(3)
        ]
        for each in three:
            wait_until(
                lambda each=each: (
                    each.state().get("num-other-sentinels") == 2  # type: ignore[misc]
                    and each.state().get("num-slaves") == 1
                ),
                seconds=60,
                what="the Sentinels have found each other and the replica",
            )
        hosts = ",".join(f"{LOOPBACK}:{each.port}" for each in three)
        url = f"redis-sentinel://{hosts}/three/0"
        address = f"127.0.0.1:{master.port}"
        assert found_by(look, url) == {f"3 Sentinels agree on {address}": "ok"}
        assert says(look(Reachability(), url)) == ("ok", "the Sentinel master 'three' answers")

        three[0].kill()
        (seen,) = (each for each in found_by(look, url).items() if "answer" in each[0])
        assert seen[0].startswith("2 of 3 Sentinels answer, and 2 must agree that a master is down. Not: ")
        assert f"127.0.0.1:{three[0].port}" in seen[0]
        assert seen[1] == "warning"

        three[1].kill()
        (seen,) = (each for each in found_by(look, url).items() if "answer" in each[0])
        assert seen[0].startswith("1 of 3 Sentinels answer, ")
        assert seen[1] == "error"

        three[2].kill()
        (seen,) = found_by(look, url).items()
        assert seen[0].startswith("None of 3 Sentinels tells of 'three': ")
        assert seen[1] == "error"
        found = look(Reachability(), url)
        assert found.severity == "error"
        assert found.seen.startswith("No Sentinel gives out a master 'three'")


def test_sentinel__alone_with_a_master_that_died(look: Look, serve: Serve, tmp_path: Path) -> None:
    master = serve()
    with Sentinel(folder=tmp_path, master=master.port, name="alone", quorum=1) as sentinel:
        url = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/alone/0"
        assert found_by(look, url) == {
            "Only 1 Sentinel watches the master.": "warning",
            f"The master 127.0.0.1:{master.port} has no replica.": "warning",
        }
        master.kill()
        wait_until(lambda: bool(sentinel.state().get("is_odown")), seconds=60, what="it is taken for down")
        assert found_by(look, url)[
            f"The Sentinels agree that the master 127.0.0.1:{master.port} is down."
        ] == ("error")


def test_sentinel__of_another_name(look: Look, serve: Serve, tmp_path: Path) -> None:
    with Sentinel(folder=tmp_path, master=serve().port) as sentinel:
        url = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/another/0"
        assert cache_settings(url, max_connections=2)["LOCATION"] == "redis://another/0"
        (seen,) = found_by(look, url).items()
    assert seen[0].startswith("None of 1 Sentinel tells of 'another': ")
    assert "No such master" in seen[0]


def test_sentinel__two_that_name_different_masters(look: Look, serve: Serve, tmp_path: Path) -> None:
    one, other = serve(), serve()
    (tmp_path / "b").mkdir()
    with (
        Sentinel(folder=tmp_path, master=one.port, name="split") as first,
        Sentinel(folder=tmp_path / "b", master=other.port, name="split") as second,
    ):
        url = f"redis-sentinel://{LOOPBACK}:{first.port},{LOOPBACK}:{second.port}/split/0"
        masters = ", ".join(sorted(f"127.0.0.1:{each.port}" for each in (one, other)))
        assert found_by(look, url)[f"The Sentinels name different masters: {masters}."] == "error"
