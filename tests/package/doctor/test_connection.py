"""Can a cache be used: its backend and time-outs, and every cause told apart, on real servers and sockets."""

import contextlib
import socket
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache

from embedded.ports import LOOPBACK, free_port
from tests.package.doctor.sentinels import Sentinel
from tests.package.doctor.support import (
    BACKENDS,
    PASSWORD,
    USED,
    Examine,
    Serve,
    cache_entry,
    configure,
    expect,
    fail_to_save,
    limited,
    overfill,
)
from tests.package.doctor.tls import CERTIFICATE, in_front_of, listening
from warmer.doctor.checks.connection import unusable

LOCATION = 'CACHES["other"]["LOCATION"] = "'
DJANGO_REDIS = "django_redis.cache.RedisCache"
tenant: ContextVar[str] = ContextVar("tenant", default="public")


def tenants_key(key: str, prefix: str, version: int) -> str:
    return f"{tenant.get()}:{key}"


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port that accepts no connection: its queue is full."""
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


# -- the backend and the time-outs -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("changed", "severity", "says", "fix"),
    [
        ({"BACKEND": DJANGO_REDIS}, "ok", DJANGO_REDIS, ""),
        ({"BACKEND": "myapp.no_such.Cache"}, "error", "myapp.no_such.Cache", '["BACKEND"] = ...'),
        ({"BACKEND": f"{BACKENDS}.locmem.LocMemCache"}, "warning", "LocMemCache", '["BACKEND"] = "warmer.stores.'),
        ({"BACKEND": f"{BACKENDS}.dummy.DummyCache"}, "error", "DummyCache", '["BACKEND"] = "warmer.stores.'),
        ({"KEY_FUNCTION": tenants_key}, "error", "'public:key'", '["KEY_FUNCTION"] = None\n'),
        ({"LOCATION": "redi://app:s3cr3t@h:1/0"}, "error", "'redi://***@h:1/0'", '["LOCATION"] = "redis://'),
        ({"LOCATION": "redis-cluster://:s3cr3t@h:port"}, "error", "'redis-cluster://***'", '["LOCATION"] = "redis://'),
    ],
)
def test_backend(examine: Examine, changed: dict[str, Any], severity: str, says: str, fix: str) -> None:
    entry = cache_entry("redis://app:s3cr3t@127.0.0.1:1/0") | changed
    found = examine("backend", entry, specs=USED)
    assert found.severity == severity
    assert says in found.message
    assert "s3cr3t" not in found.message
    assert found.fix.startswith(f'CACHES["other"]{fix}' if fix else "")
    is_broken = "no_such" in says or "LOCATION" in changed
    unused = examine("backend", entry)
    assert (unused.severity, "s3cr3t" in unused.message) == ("error" if is_broken else "ok", False)
    assert (examine("same-cache", entry, specs=USED).message == "backend failed") is is_broken


@pytest.mark.parametrize(
    ("problem", "package"),
    [
        ("Could not find backend 'x': No module named 'django_redis'", "django-redis"),
        ('ImportError: warmer.serializers needs msgspec: run pip install "warmer[msgspec]"', "msgspec"),
    ],
)
def test_backend__library_is_not_installed(problem: str, package: str) -> None:
    assert unusable("default", problem).fix.startswith(f"pip install {package}\n")


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, ""),
        ({"CONNECTION_POOL_KWARGS": {"socket_timeout": None}}, "SOCKET_TIMEOUT"),
        ({"CONNECTION_POOL_KWARGS": {"socket_connect_timeout": 60}}, "SOCKET_CONNECT_TIMEOUT"),
        ({"SOCKET_TIMEOUT": 60}, "SOCKET_TIMEOUT"),
    ],
)
def test_timeouts(examine: Examine, changed: dict[str, Any], name: str) -> None:
    entry = {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://127.0.0.1:1/60", "OPTIONS": {"SOCKET_TIMEOUT": 1} | changed}
    entry["OPTIONS"].setdefault("SOCKET_CONNECT_TIMEOUT", 1)
    found = examine("timeouts", entry)
    assert found.severity == ("warning" if name else "ok")
    assert found.fix.startswith(f'CACHES["other"]["OPTIONS"]["{name}"] = 0.5' if name else "")


class WithoutRedis(LocMemCache):
    """Like Django's own Redis cache where redis is not installed: only a call finds out."""

    def _missing(self, *args: Any, **kwargs: Any) -> Any:
        raise ModuleNotFoundError("No module named 'redis'")

    get = get_many = set_many = delete = delete_many = add = set = _missing  # type: ignore[assignment]


def test_reachability__without_the_package_of_a_backend(examine: Examine) -> None:
    found = examine("reachability", {"BACKEND": f"{__name__}.WithoutRedis"})
    expect(found, "error", says="No module named 'redis'", fix="pip install redis\n")


# -- reachability ----------------------------------------------------------------------------------
def test_reachability__answers(examine: Examine, serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    server = serve(unixsocket=str(path))
    assert examine("reachability", server).message == f"127.0.0.1:{server.port}/0 answers"
    assert examine("reachability", f"unix://{path}?db=0").message == f"{path} answers"
    with in_front_of(server.port, CERTIFICATE) as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={CERTIFICATE}"
        assert examine("reachability", url).severity == "ok"
    configure(server, requirepass=PASSWORD)
    assert examine("reachability", f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0").severity == "ok"


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("redis://:PASSWORD@127.0.0.1:CLOSED/0", "systemctl status redis"),
        ("unix:///no/such.sock?db=0", "systemctl status redis"),
        ("redis://no-such-host.invalid:6379/0", "getent hosts no-such-host.invalid"),
        ("redis://127.0.0.1:PORT/99", f'{LOCATION}redis://HOST:PORT/0"'),
        ("redis://127.0.0.1:LOCKED/0", f'{LOCATION}redis://USER:PASSWORD@HOST:PORT/0"'),
        ("redis://:PASSWORD@127.0.0.1:LOCKED/0", f'{LOCATION}redis://USER:PASSWORD@HOST:PORT/0"'),
        ("redis://127.0.0.1:TLS/0", f'{LOCATION}rediss://HOST:PORT/0"'),
        ("rediss://127.0.0.1:TLS/0", f"{LOCATION}rediss://HOST:PORT/0?ssl_ca_certs="),
        ("redis://127.0.0.1:SENTINEL/0", 'CACHES["other"]["OPTIONS"]["SENTINELS"] = [("HOST", 26379)'),
        pytest.param(
            "redis://127.0.0.1:DEAF/0",
            "nc -vz 127.0.0.1 ",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="others refuse when the queue is full"),
        ),
    ],
)
def test_reachability__cause(examine: Examine, serve: Serve, deaf: int, tmp_path: Path, url: str, fix: str) -> None:
    server, locked = serve(), serve()
    configure(locked, requirepass="another")
    with Sentinel(folder=tmp_path, master=server.port) as sentinel, in_front_of(server.port, CERTIFICATE) as tls:
        words = {
            "PASSWORD": PASSWORD,
            "CLOSED": free_port(),
            "PORT": server.port,
            "LOCKED": locked.port,
            "TLS": tls,
            "SENTINEL": sentinel.port,
            "DEAF": deaf,
        }
        for word, value in words.items():
            url = url.replace(word, str(value))
        found = examine("reachability", cache_entry(url))
    assert found.severity == "error"
    assert found.fix.startswith(fix), found
    assert found.message.startswith(url.partition("@")[2] or url.partition("//")[2].partition("?")[0])


def test_reachability__server_that_is_busy_hangs_or_speaks_no_tls(examine: Examine, serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        client.config_set("maxclients", 1)
        busy = examine("reachability", server)
        client.config_set("maxclients", 100)
    without_tls = examine("reachability", cache_entry(f"rediss://127.0.0.1:{server.port}/0"))
    server.pause()
    hangs = examine("reachability", server)
    assert {busy.severity, without_tls.severity, hangs.severity} == {"error"}
    assert "CONFIG GET maxclients" in busy.fix
    assert "not use TLS" in without_tls.fix
    assert hangs.fix.startswith(f"redis-cli -h 127.0.0.1 -p {server.port} --latency")


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        (b"-DENIED Redis is running in protected mode because ...\r\n", "requirepass PASSWORD"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading_eta_seconds"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "shows whether a Redis server answers there"),
    ],
)
def test_reachability__answer(examine: Examine, answer: bytes, fix: str) -> None:
    def say_it(link: socket.socket) -> None:
        link.recv(1024)
        link.sendall(answer)

    with listening(say_it) as port:
        expect(examine("reachability", f"redis://127.0.0.1:{port}/0"), "error", advises=fix)


def test_reachability__file_cache(examine: Examine, tmp_path: Path) -> None:
    entry = {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache", "LOCATION": tmp_path}
    assert examine("reachability", entry).severity == "ok"
    assert list(tmp_path.iterdir()) == []
    assert examine("writes", entry).message == "not a single Redis server"
    (tmp_path / "file").write_text("")
    assert examine("backend", entry | {"LOCATION": tmp_path / "file"}).severity == "error"


# -- writes ----------------------------------------------------------------------------------------


def test_writes__while_the_server_makes_room(examine: Examine, serve: Serve) -> None:
    """The key of the probe is as likely to be evicted as any other."""
    server = serve()
    for _ in range(5):
        configure(server, maxmemory_policy="noeviction")
        overfill(server)
        configure(server, maxmemory_policy="allkeys-random")
        assert examine("writes", server).severity == "ok"


def test_writes__refused(examine: Examine, serve: Serve) -> None:
    server = serve(save="900 1")
    expect(examine("writes", limited(server, "-@all +@read +ping")), "error", advises="ACL SETUSER")
    with server.client() as client:
        client.replicaof(LOOPBACK, serve().port)
        expect(examine("writes", server), "error", advises="INFO replication")
        client.replicaof("NO", "ONE")
    fail_to_save(server)
    failed = examine.all("persistence", server)[0]
    assert (failed.severity, "BGSAVE" in failed.fix) == ("error", True)
    assert examine("reachability", server).severity == "ok"
    expect(examine("writes", server), "error", advises="stop-writes-on-bgsave-error no")
    server.kill()  # asked to stop, it would try to save again


def test_writes__with_a_replica_lag(examine: Examine, serve: Serve, settings: Any) -> None:
    settings.WARMER_REPLICA_LAG = 60  # for this long, a new fence rejects every write
    assert examine("writes", serve()).severity == "ok"
