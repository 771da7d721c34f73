"""Processes are ended with all their children, also when the one that started them is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from embedded.ports import free_port, why_not_here, why_unusable
from embedded.processes import Ask, describe_exit, finish, spawn
from embedded.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
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
    wait_until(lambda: all(map(is_gone, processes)), seconds=60, what=f"{processes} are gone")


def test_finish__stubborn_process_and_its_child_are_killed() -> None:
    process = spawn([sys.executable, "-c", STUBBORN], output=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        numbers = [int(text) for text in process.stdout.readline().split()]
    code = finish(process, asks=(Ask(signal=signal.SIGTERM, seconds=0.1),))
    assert code == -signal.SIGKILL
    wait_until_gone(*numbers)


def test_finish__polite_process_is_asked_only() -> None:
    process = spawn(["sleep", "600"], output=subprocess.DEVNULL)
    assert finish(process) == -signal.SIGTERM


def test_finish__hurried__does_not_wait() -> None:
    process = spawn([sys.executable, "-c", STUBBORN], output=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
    asks = (Ask(signal=signal.SIGTERM, seconds=600),)
    assert finish(process, asks=asks, hurried=lambda: True) == -signal.SIGKILL


def test_finish__ended_process__its_left_child_is_killed() -> None:
    process = spawn(["sh", "-c", "sleep 600 & echo $!"], output=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        child = int(process.stdout.readline())
    process.wait(30)
    assert not is_gone(child)
    assert finish(process) == 0
    wait_until_gone(child)


@pytest.mark.parametrize("last_words", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(0)"])
def test_reaper__ends_what_its_parent_left(last_words: str) -> None:
    code = f"""
import os, signal, subprocess, sys
from embedded.processes import spawn, temporary_folder
folder = temporary_folder("warmer-reaper-")
(folder / "file").touch()
print(folder)
process = spawn([sys.executable, "-c", {STUBBORN!r}], output=subprocess.PIPE)
print(process.stdout.readline().decode(), flush=True)
{last_words}
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    folder, *numbers = done.stdout.split()
    assert len(numbers) == 2
    wait_until_gone(*map(int, numbers))
    wait_until(lambda: not Path(folder).exists(), seconds=60, what=f"{folder} is removed")


def test_describe_exit__names_the_signal() -> None:
    assert describe_exit(-9) == "signal SIGKILL"
    assert describe_exit(3) == "exit code 3"


def test_free_port__is_free_and_out_of_the_way_of_clients() -> None:
    port = free_port()
    assert 20_000 <= port <= 32_000
    assert why_unusable("127.0.0.1", port) is None


def test_why_unusable__port_in_use() -> None:
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    with listener:
        assert listener.stdout is not None
        port = int(listener.stdout.readline())
        assert why_unusable("127.0.0.1", port) == "is taken"
        assert why_unusable("0.0.0.0", port) == "is taken"
        listener.kill()


LISTEN = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_why_unusable__unknown_host() -> None:
    assert "no-such-host.invalid" in str(why_unusable("no-such-host.invalid", 8000))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_why_not_here__host_of_this_machine(host: str) -> None:
    assert why_not_here(host) is None


# The first is of a network that is for documentation alone.
@pytest.mark.parametrize(
    ("host", "why"),
    [("192.0.2.1", "it is no address of this machine"), ("no-such-host.invalid", "it is unknown")],
)
def test_why_not_here__host_of_no_one_here(host: str, why: str) -> None:
    assert str(why_not_here(host)).startswith(why)


def test_wait_until__gives_up_with_the_condition_in_words() -> None:
    with pytest.raises(TimeoutError, match=r"0\.01 s in vain until the moon is blue"):
        wait_until(lambda: False, seconds=0.01, what="the moon is blue")
