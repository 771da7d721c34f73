"""The runtime itself: a process group ends and restarts as a container does, and Docker is never skipped."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import APIError
from redis import Redis

from embedded.waiting import wait_until
from tests.system.host_runtime import HostClient, HostContainer
from tests.system.nodes import connect

# The child inherits the lock, which is free when the last process that has it open is gone.
PARENT_AND_CHILD = """
import fcntl, os, signal, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
if os.fork() == 0:
    signal.signal(signal.SIGTERM, lambda *_: print("the child got SIGTERM", flush=True))
else:
    signal.signal(signal.SIGTERM, lambda *_: print("the parent got SIGTERM", flush=True))
    print("both are there", flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def client() -> Iterator[HostClient]:
    client = HostClient()
    yield client
    client.close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def family(client: HostClient, lock: Path) -> HostContainer:
    """A container of two processes."""
    family: HostContainer = client.containers.run(
        detach=True, image="any", command=["python", "-c", PARENT_AND_CHILD, str(lock)]
    )
    await_log(family, "both are there")
    return family


def await_log(container: HostContainer, text: str) -> None:
    wait_until(lambda: text in container.logs().decode(), seconds=60, what=f"the log says {text!r}")


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_kill__ends_the_children_too(family: HostContainer, lock: Path) -> None:
    assert not is_free(lock)

    family.kill()

    wait_until(lambda: is_free(lock), seconds=60, what="every process is gone")
    assert family.status == "running"  # as of the last look, like docker-py
    family.reload()
    assert (family.status, family.attrs["State"]["ExitCode"]) == ("exited", -9)
    with pytest.raises(APIError, match="is not running"):
        family.kill()


def test_kill__with_a_signal_reaches_the_first_process_alone(family: HostContainer, lock: Path) -> None:
    family.kill("SIGTERM")

    await_log(family, "the parent got SIGTERM")
    family.reload()
    assert family.status == "running"
    assert "the child" not in family.logs().decode()
    assert not is_free(lock)


def test_end_of_the_first_process__ends_the_others(family: HostContainer, lock: Path) -> None:
    assert family._process is not None
    family._process.kill()

    wait_until(lambda: family.reload() or family.status == "exited", seconds=60, what="it has ended")
    wait_until(lambda: is_free(lock), seconds=60, what="the child is gone")


def test_close__leaves_nothing(client: HostClient, family: HostContainer, lock: Path) -> None:
    client.close()

    wait_until(lambda: is_free(lock), seconds=60, what="every process is gone")
    assert not client.root.exists()


def test_restart__keeps_port_and_files(client: HostClient) -> None:
    broker: HostContainer = client.containers.run(
        detach=True,
        image="any",
        command=["redis-server", "--save", "", "--appendonly", "yes", "--appendfsync", "always"],
        ports={"6379/tcp": None},
    )
    port = int(broker.attrs["NetworkSettings"]["Ports"]["6379/tcp"][0]["HostPort"])
    with Redis(port=port) as redis:
        redis.set("key", "kept")

    broker.kill()
    broker.restart()

    with Redis(port=port) as redis:
        assert redis.get("key") == b"kept"
    assert broker.logs().count(b"Ready to accept connections") == 2


def test_environment__has_nothing_of_ours_but_the_path(
    client: HostClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TESTS", "1")
    container: HostContainer = client.containers.run(
        detach=True,
        image="any",
        command=["python", "-c", "import os; print(sorted(os.environ))"],
        environment={"OF_THE_CONTAINER": "1"},
    )

    assert container.wait() == {"StatusCode": 0}
    said = container.logs().decode()
    assert "OF_THE_CONTAINER" in said
    assert "OF_THE_TESTS" not in said


class TestConnect:
    """What `CELERY_TEST_RUNTIME` leads to on a machine where no engine answers."""

    @pytest.fixture(autouse=True)
    def _no_engine(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")

    def test_docker__fails_and_says_what_to_do(self) -> None:
        with pytest.raises(pytest.fail.Exception, match=r"no Docker engine answers.*Start one.*=process"):
            connect("docker")

    @pytest.mark.parametrize("runtime", ["auto", "process"])
    def test_others__take_host_processes(self, runtime: str) -> None:
        client = connect(runtime)

        assert isinstance(client, HostClient)
        client.close()

    def test_unknown_word__fails(self) -> None:
        with pytest.raises(pytest.fail.Exception, match="expected auto, docker or process"):
            connect("podman")
