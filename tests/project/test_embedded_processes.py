"""Processes are ended with all their children, also when the one that started them is killed."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from config.running_servers import running_servers
from embedded.ports import free_port, port_problem
from embedded.processes import Ask, ProcessGroup
from embedded.waiting import wait_until
from tests.support.processes import run

# Starts a child, prints both numbers, and neither ends on SIGTERM.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(os.getpid(), child, flush=True)
time.sleep(600)
"""


def is_gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(*processes: int) -> None:
    wait_until(lambda: all(map(is_gone, processes)), what=f"{processes} are gone")


@pytest.mark.parametrize(("seconds", "hurried"), [(0.1, False), (600, True)])
def test_end__stubborn_process_and_its_child_are_killed(seconds: float, hurried: bool) -> None:
    process = ProcessGroup([sys.executable, "-c", STUBBORN], output=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        numbers = [int(text) for text in process.stdout.readline().split()]
    asks = (Ask(signal=signal.SIGTERM, seconds=seconds),)
    assert process.end(asks, hurried=lambda: hurried) == -signal.SIGKILL
    wait_until_gone(*numbers)


def test_end__ended_process__its_left_child_is_killed() -> None:
    process = ProcessGroup(["sh", "-c", "sleep 600 & echo $!"], output=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        child = int(process.stdout.readline())
    process.wait(60)
    assert not is_gone(child)
    assert process.end() == 0
    wait_until_gone(child)


def test_guard__ends_what_its_parent_left__and_holds_the_data_folder_until_then(tmp_path: Path) -> None:
    code = f"""
import os, signal, subprocess, sys
from pathlib import Path
from embedded.processes import ProcessGroup
from embedded.running import announce, only_instance
data_dir = Path({str(tmp_path)!r})
folder = data_dir / "temporary"
with only_instance(data_dir, "http://here/"):
    announce(data_dir, {{"REDIS_URL": "redis://here"}})
    folder.mkdir()
    process = ProcessGroup([sys.executable, "-c", {STUBBORN!r}], output=subprocess.PIPE, folder=folder)
    print(process.stdout.readline().decode(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run(sys.executable, "-c", code)
    stubborn, child = map(int, done.stdout.split())
    wait_until(lambda: not running_servers(tmp_path), what="the data folder is free")
    assert is_gone(stubborn)
    assert is_gone(child)
    assert not (tmp_path / "temporary").exists()


def test_free_port__is_free_and_out_of_the_way_of_clients() -> None:
    port = free_port()
    assert 20_000 <= port <= 32_000
    assert port_problem("127.0.0.1", port) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_port_problem__port_in_use(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert port_problem(host, listener.getsockname()[1]) == "is taken"


# The first is of a network that is for documentation alone.
@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_port_problem__host_of_no_one_here(host: str) -> None:
    assert f"cannot be used on HOST={host}" in str(port_problem(host, 8000))
