"""The doctor on a cache that cannot be used: every cause is told apart, on real servers and sockets."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.redis_url import cache_settings
from embedded.ports import LOOPBACK, free_port
from embedded.redis_server import RedisServer
from embedded.server import LOG_NAME
from embedded.waiting import wait_until
from tests.integration.doctor.looking import PASSWORD, Look, Serve, carry_out, overfill, says
from tests.integration.doctor.sentinels import Sentinel
from tests.integration.doctor.tls import CERTIFICATE, in_front_of
from warmer.doctor.reachability import Backend, Reachability, Timeouts, Writes

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


def quick(url: str, **pool: Any) -> dict[str, Any]:
    """Return an entry for `CACHES` that waits half a second at most."""
    entry = cache_settings(url, max_connections=5)
    entry["OPTIONS"]["CONNECTION_POOL_KWARGS"] |= {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    entry["OPTIONS"]["CONNECTION_POOL_KWARGS"] |= pool
    return entry


def with_password(server: RedisServer) -> RedisServer:
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    return server


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that takes no connection: its queue is full and nobody accepts."""
    with contextlib.ExitStack() as links:
        listener = links.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        for _ in range(4):
            link = links.enter_context(socket.socket())
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                link.connect(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def answering() -> Iterator[Any]:
    """Return a function that starts a server which gives everybody one answer; it returns the port."""
    with contextlib.ExitStack() as stack:

        def start(answer: bytes) -> int:
            listener = stack.enter_context(socket.create_server((LOOPBACK, 0)))

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        with listener.accept()[0] as link:
                            link.recv(1024)
                            link.sendall(answer)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return int(listener.getsockname()[1])

        yield start


# -- what answers ----------------------------------------------------------------------------------
def test_reachability__server_that_answers(look: Look, serve: Serve) -> None:
    server = serve()
    assert says(look(Reachability(), server)) == ("ok", f"127.0.0.1:{server.port}/0 answers")


def test_reachability__unix_socket(look: Look, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    serve(unixsocket=str(path))
    assert says(look(Reachability(), f"unix://{path}?db=0")) == ("ok", f"{path} answers")


def test_reachability__tls(look: Look, serve: Serve) -> None:
    pem = CERTIFICATE
    with in_front_of(serve().port, pem) as port:
        found = look(Reachability(), f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={pem}")
    assert says(found) == ("ok", f"127.0.0.1:{port}/0 answers")


# -- every cause -----------------------------------------------------------------------------------
def test_reachability__refused(look: Look) -> None:
    port = free_port()
    found = look(Reachability(), f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    assert says(found) == ("error", f"127.0.0.1:{port}/0 refuses the connection: nothing listens there.")


def test_reachability__unknown_host(look: Look) -> None:
    found = look(Reachability(), "redis://no-such-host.invalid:6379/0")
    assert found.severity == "error"
    assert found.seen.startswith("The host of no-such-host.invalid:6379/0 has no address")


def test_reachability__no_unix_socket(look: Look, tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    assert says(look(Reachability(), f"unix://{path}?db=0")) == (
        "error",
        f"There is no unix socket at {path}.",
    )


def test_reachability__password_is_missing(look: Look, serve: Serve) -> None:
    server = with_password(serve())
    found = look(Reachability(), server)
    assert says(found) == (
        "error",
        f"127.0.0.1:{server.port}/0 wants a password, and the settings give none.",
    )


def test_reachability__password_is_wrong(look: Look, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.config_set("requirepass", "another")
    found = look(Reachability(), f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0")
    assert says(found) == ("error", f"127.0.0.1:{server.port}/0 does not accept this user and password.")


def test_reachability__password_that_is_right(look: Look, serve: Serve) -> None:
    server = with_password(serve())
    assert look(Reachability(), f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0").severity == "ok"


def test_reachability__tls_client_at_a_plain_server(look: Look, serve: Serve) -> None:
    server = serve()
    found = look(Reachability(), quick(f"rediss://127.0.0.1:{server.port}/0"))
    assert says(found) == (
        "error",
        f"127.0.0.1:{server.port}/0 speaks plain text, and the settings want TLS.",
    )
    assert found.fix.startswith("REDIS_URL=redis://")


def test_reachability__plain_client_at_a_tls_server(look: Look, serve: Serve) -> None:
    with in_front_of(serve().port, CERTIFICATE) as port:
        found = look(Reachability(), quick(f"redis://127.0.0.1:{port}/0"))
    assert says(found) == ("error", f"127.0.0.1:{port}/0 speaks TLS, and the settings do not.")
    assert found.fix.startswith("REDIS_URL=rediss://")


def test_reachability__certificate_that_nobody_trusts(look: Look, serve: Serve) -> None:
    with in_front_of(serve().port, CERTIFICATE) as port:
        found = look(Reachability(), quick(f"rediss://127.0.0.1:{port}/0"))
    assert found.severity == "error"
    assert found.seen.startswith(f"The certificate of 127.0.0.1:{port}/0 is not trusted")


def test_reachability__database_that_does_not_exist(look: Look, serve: Serve) -> None:
    server = serve()
    found = look(Reachability(), server.url(99))
    assert says(found) == ("error", f"127.0.0.1:{server.port}/99 has no database number 99.")


def test_reachability__server_that_hangs(look: Look, serve: Serve) -> None:
    server = serve()
    server.pause()
    found = look(Reachability(), quick(server.url()))
    assert says(found) == (
        "error",
        f"127.0.0.1:{server.port}/0 takes the connection but gave no answer within 0.5 s.",
    )


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems refuse when the queue is full"
)
def test_reachability__packets_that_are_dropped(look: Look, deaf: int) -> None:
    found = look(Reachability(), quick(f"redis://127.0.0.1:{deaf}/0"))
    assert says(found) == ("error", f"127.0.0.1:{deaf}/0 took no connection within 0.5 s.")


def test_reachability__no_connection_is_free(look: Look, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.ping()
        client.config_set("maxclients", 1)
        found = look(Reachability(), server)
    assert found.severity == "error"
    assert "has no connection free" in found.seen


def test_reachability__sentinel_in_place_of_a_server(look: Look, serve: Serve, tmp_path: Path) -> None:
    with Sentinel(folder=tmp_path, master=serve().port) as sentinel:
        found = look(Reachability(), f"redis://127.0.0.1:{sentinel.port}/0")
    assert says(found) == ("error", f"127.0.0.1:{sentinel.port}/0 is a Sentinel, which keeps no keys.")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"-DENIED Redis is running in protected mode because ...\r\n", "is in protected mode"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "is loading its data from disk"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no Redis server"),
    ],
)
def test_reachability__answer(look: Look, answering: Any, answer: bytes, said: str) -> None:
    found = look(Reachability(), quick(f"redis://127.0.0.1:{answering(answer)}/0"))
    assert found.severity == "error"
    assert said in found.seen


# -- writes ----------------------------------------------------------------------------------------
def test_writes__leave_nothing_behind(look: Look, serve: Serve) -> None:
    server = serve()
    assert look(Writes(), server).severity == "ok"
    with server.client() as client:
        assert [key for key in client.keys("*") if b"readings" not in key] == []


def test_writes__full_server(look: Look, serve: Serve) -> None:
    server = serve()
    overfill(server)
    found = look(Writes(), server)
    assert found.severity == "error"
    assert "refuses every write" in found.seen
    carry_out(found, server)
    assert says(look(Writes(), server)) == ("ok", "a key was written, read back and removed")


def test_writes__while_the_server_makes_room(look: Look, serve: Serve) -> None:
    """The key of the trial is as likely to be evicted as any other."""
    server = serve()
    for _ in range(10):
        with server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            overfill(server)
            client.config_set("maxmemory-policy", "allkeys-random")
        assert says(look(Writes(), server)) == ("ok", "a key was written, read back and removed")


def test_writes__replica(look: Look, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.replicaof(LOOPBACK, serve().port)
    found = look(Writes(), server)
    assert says(found) == ("error", f"127.0.0.1:{server.port}/0 is a replica: it takes no writes.")


def test_writes__server_that_could_not_save(look: Look, serve: Serve) -> None:
    server = serve(save="900 1")
    fail_to_save(server)
    assert look(Reachability(), server).severity == "ok"
    found = look(Writes(), server)
    assert found.severity == "error"
    assert "could not save its data to disk" in found.seen
    server.kill()  # asked to stop, it would try to save again


def test_writes__user_without_the_right(look: Look, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", f">{PASSWORD}", "~*", "+@read", "+ping")
    found = look(Writes(), f"redis://reader:{PASSWORD}@127.0.0.1:{server.port}/0")
    assert found.severity == "error"
    assert "may not write" in found.seen


def fail_to_save(server: RedisServer) -> None:
    """Take the server's folder away and let it try to save."""
    with server.client() as client:
        folder = Path(client.config_get("dir")["dir"])
        assert (folder / LOG_NAME).exists()
        shutil.rmtree(folder)
        client.set("key", "value")
        client.bgsave()
        wait_until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err",
            seconds=60,
            what="the save has failed",
        )


# -- the backend and the timeouts ------------------------------------------------------------------
def test_backend__django_redis(look: Look, serve: Serve) -> None:
    assert says(look(Backend(), serve())) == ("ok", "django_redis.cache.RedisCache")


def test_backend__django_redis_is_not_installed(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "django_redis", None)  # as Python knows a module that is not there
    found = look(Backend(), "redis://127.0.0.1:1/0")
    assert says(found) == (
        "error",
        "The settings name django_redis.cache.RedisCache, but django-redis is not installed.",
    )
    assert found.fix.startswith("pip install django-redis\n")


def test_backend__class_that_does_not_exist(look: Look) -> None:
    found = look(Backend(), {"BACKEND": "myapp.no_such.Cache"})
    assert found.severity == "error"
    assert "The backend myapp.no_such.Cache cannot be used" in found.seen


def test_backend__in_the_memory_of_one_process(look: Look) -> None:
    found = look(Backend(), {"BACKEND": LOCMEM})
    assert says(found) == ("warning", f"{LOCMEM} is in the memory of one process.")


def test_backend__that_keeps_nothing(look: Look) -> None:
    found = look(Backend(), {"BACKEND": "django.core.cache.backends.dummy.DummyCache"})
    assert says(found) == ("error", "django.core.cache.backends.dummy.DummyCache keeps nothing.")


def test_reachability__file_cache(look: Look, tmp_path: Path) -> None:
    entry = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": tmp_path}
    assert look(Reachability(), entry).severity == "ok"
    assert look.not_checked(Writes(), entry) == "it is not one Redis server"


def test_reachability__file_cache_that_cannot_be_written(look: Look, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    entry = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": tmp_path / "file"}
    found = look(Reachability(), entry)
    assert found.severity == "error", found
    assert "The cache 'other' does not serve" in found.seen


@pytest.mark.parametrize(
    ("pool", "severity", "said"),
    [
        ({}, "ok", "a client waits 0.5 s to connect, 0.5 s for an answer"),
        ({"socket_timeout": None}, "warning", "socket_timeout is not set."),
        ({"socket_timeout": 60}, "warning", "socket_timeout is 1 min."),
        ({"socket_connect_timeout": 60}, "warning", "socket_connect_timeout is 1 min."),
    ],
)
def test_timeouts(look: Look, serve: Serve, pool: Any, severity: str, said: str) -> None:
    found = look(Timeouts(), quick(serve().url(), **pool))
    assert says(found) == (severity, said)
    if severity != "ok":
        name = said.split()[0].upper()
        assert found.fix == f'CACHES["other"]["OPTIONS"]["{name}"] = 2'
