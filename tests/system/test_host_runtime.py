"""The runtime itself: a process group ends as a container does, and Docker is never skipped."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import APIError

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
    print(sorted(os.environ), "both are there", flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def client() -> Iterator[HostClient]:
    client = HostClient()
    yield client
    client.close()


def await_log(container: HostContainer, text: str) -> None:
    wait_until(lambda: text in container.logs().decode(), seconds=60, what=f"the log says {text!r}")


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_kill__a_signal_reaches_the_first_process__sigkill_and_close_end_all(
    client: HostClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TESTS", "1")
    locks = [tmp_path / "one", tmp_path / "two"]
    one, two = (
        client.containers.run(
            detach=True,
            image="any",
            command=["python", "-c", PARENT_AND_CHILD, str(lock)],
            environment={"OF_THE_CONTAINER": "1"},
        )
        for lock in locks
    )
    for container in (one, two):
        await_log(container, "both are there")
    assert "'OF_THE_CONTAINER'" in one.logs().decode()
    assert "OF_THE_TESTS" not in one.logs().decode()

    one.kill("SIGTERM")
    await_log(one, "the parent got SIGTERM")
    one.reload()
    assert one.status == "running"
    assert "the child" not in one.logs().decode()
    assert not is_free(locks[0])

    one.kill()
    wait_until(lambda: is_free(locks[0]), seconds=60, what="every process is gone")
    assert one.status == "running"  # as of the last look, like docker-py
    one.reload()
    assert (one.status, one.attrs["State"]["ExitCode"]) == ("exited", -9)
    with pytest.raises(APIError, match="is not running"):
        one.kill()

    client.close()
    wait_until(lambda: is_free(locks[1]), seconds=60, what="every process is gone")
    assert not client.root.exists()


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("docker", r"no Docker engine answers.*Start one.*=process"),
        ("podman", "expected auto, docker or process"),
        ("auto", ""),
        ("process", ""),
    ],
)
def test_connect__without_an_engine(
    runtime: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    if message:
        with pytest.raises(pytest.fail.Exception, match=message):
            connect(runtime)
    else:
        client = connect(runtime)
        assert isinstance(client, HostClient)
        client.close()
