"""The doctor on Celery's broker."""

from __future__ import annotations

from typing import Any

import pytest

from embedded.ports import free_port
from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import PASSWORD, Look, Serve, says
from tests.integration.doctor.test_reachability import fail_to_save
from warmer import tasks
from warmer.doctor.broker import (
    BrokerAnswers,
    BrokerApart,
    BrokerEviction,
    BrokerExposure,
    BrokerPersistence,
    BrokerTimeouts,
)
from warmer.doctor.finding import Finding
from warmer.tasks import Broker, close_stalled_runs


def test_broker__answers(look: Look, serve: Serve, broker_at: Any) -> None:
    server = serve()
    broker = broker_at(server.url(3))
    assert (broker.app, broker.is_redis, broker.database) == ("config", True, "3")
    found = look(BrokerAnswers(), broker=broker)
    assert says(found) == ("ok", f"redis://127.0.0.1:{server.port}/3 answers")


def test_broker__is_away(look: Look, broker_at: Any) -> None:
    port = free_port()
    found = look(BrokerAnswers(), broker=broker_at(f"redis://:{PASSWORD}@127.0.0.1:{port}/0"))
    assert found.severity == "error"
    assert found.seen.startswith(f"redis://127.0.0.1:{port}/0 does not answer: ")
    assert "Connection refused" in found.seen


def test_broker__password_is_wrong(look: Look, serve: Serve, broker_at: Any) -> None:
    server = serve()
    with server.client() as client:
        client.config_set("requirepass", "another")
    found = look(BrokerAnswers(), broker=broker_at(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"))
    assert found.severity == "error"
    assert "invalid username-password pair" in found.seen


def test_broker__hangs(look: Look, serve: Serve, broker_at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.broker, "BROKER_SECONDS", 0.2)
    server = serve()
    server.pause()
    found = look(BrokerAnswers(), broker=broker_at(server.url()))
    assert found.severity == "error"
    assert "Timeout" in found.seen


@pytest.mark.parametrize(
    ("options", "severity", "seen"),
    [
        ({}, "warning", "Celery's broker_transport_options have no socket_timeout."),
        ({"socket_timeout": 5}, "ok", "a client waits 5 s for an answer"),
    ],
)
def test_broker_timeouts(
    look: Look, serve: Serve, broker_at: Any, options: dict[str, Any], severity: str, seen: str
) -> None:
    broker = broker_at(serve().url(), broker_transport_options=options)
    assert says(look(BrokerTimeouts(), broker=broker)) == (severity, seen)


def test_broker__tasks_in_process(look: Look, settings: Any) -> None:
    assert look(BrokerAnswers(), broker=tasks.look_at_broker()).severity == "warning"
    settings.DEBUG = True
    assert look(BrokerAnswers(), broker=tasks.look_at_broker()).severity == "ok"


def test_broker_apart__two_servers(look: Look, serve: Serve, broker_at: Any) -> None:
    broker = broker_at(serve().url())
    assert look(BrokerApart(), serve(), broker=broker).severity == "ok"


@pytest.mark.parametrize(
    ("policy", "limit", "severity"),
    [
        ("allkeys-lru", "100mb", "error"),
        ("allkeys-lru", "0", "warning"),
        ("volatile-lru", "100mb", "warning"),
        ("noeviction", "100mb", "warning"),
    ],
)
def test_broker_apart__one_server(
    look: Look, serve: Serve, broker_at: Any, policy: str, limit: str, severity: str
) -> None:
    server = serve(maxmemory=limit, maxmemory_policy=policy)
    found = look(BrokerApart(), server, broker=broker_at(server.url(1)))
    assert found.severity == severity
    assert "The cache and the broker are one server" in found.seen
    assert policy in found.seen


def test_broker_apart__one_server_under_two_names(look: Look, serve: Serve, broker_at: Any) -> None:
    server = serve()
    broker = broker_at(f"redis://localhost:{server.port}/1")
    assert look(BrokerApart(), server, broker=broker).severity == "warning"


def test_broker_apart__one_database(look: Look, serve: Serve, broker_at: Any) -> None:
    server = serve()
    found = look(BrokerApart(), server, broker=broker_at(server.url()))
    assert found.severity == "error"
    assert "share database 0" in found.seen


def test_broker_apart__evicting_server_loses_messages(serve: Serve, broker_at: Any) -> None:
    """What the check warns of: it is so."""
    server = serve(maxmemory="3mb", maxmemory_policy="allkeys-random")
    broker_at(server.url(1))
    close_stalled_runs.apply_async(queue="warming")
    with server.client(1) as queues, server.client() as cache:
        assert queues.llen("warming") == 1
        for number in range(20_000):
            cache.set(f"key{number}", "x" * 10_000)
            if not queues.exists("warming"):
                break
        assert queues.llen("warming") == 0


@pytest.mark.parametrize(
    ("policy", "limit", "severity"),
    [("allkeys-lru", "100mb", "error"), ("allkeys-lru", "0", "warning"), ("noeviction", "100mb", "ok")],
)
def test_broker_eviction(
    look: Look, serve: Serve, broker_at: Any, policy: str, limit: str, severity: str
) -> None:
    broker = broker_at(serve(maxmemory=limit, maxmemory_policy=policy).url())
    assert look(BrokerEviction(), broker=broker).severity == severity


def limited(server: RedisServer, *without: str) -> str:
    """Return an address whose user may do all but some commands."""
    with server.client() as client:
        rights = ("~*", "&*", "+@all", *(f"-{command}" for command in without))
        client.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", *rights)
    return f"redis://app:{PASSWORD}@127.0.0.1:{server.port}/0"


@pytest.mark.parametrize(
    ("check", "without", "reason"),
    [
        (BrokerEviction(), "info", "the broker's server does not tell its policy"),
        (BrokerPersistence(), "config", "the broker's server does not tell what it keeps"),
        (BrokerExposure(), "config", "the broker's server does not tell where it listens"),
    ],
)
def test_server_that_does_not_tell(
    look: Look, serve: Serve, broker_at: Any, check: Any, without: str, reason: str
) -> None:
    broker = broker_at(limited(serve(), without))
    assert broker.problem == ""
    assert look.not_checked(check, broker=broker) == reason


@pytest.mark.parametrize("check", [BrokerEviction(), BrokerExposure(), BrokerPersistence()])
def test_broker_that_is_no_redis(look: Look, check: Any) -> None:
    other = Broker(address="amqp://broker//", is_redis=False)
    assert look.not_checked(check, broker=other) == "the broker is no Redis server"


def test_broker_persistence(look: Look, serve: Serve, broker_at: Any) -> None:
    server = serve()
    found = look(BrokerPersistence(), broker=broker_at(server.url()))
    assert found.severity == "warning"
    assert "keeps nothing on disk" in found.seen
    with server.client() as client:  # as the fix says
        assert "CONFIG SET appendonly yes" in found.fix
        client.config_set("appendonly", "yes")
    assert says(look(BrokerPersistence(), broker=broker_at(server.url()))) == ("ok", "appendonly yes")
    server.kill()  # it does not stop while the first file is written


def test_broker_persistence__by_saves(look: Look, serve: Serve, broker_at: Any) -> None:
    broker = broker_at(serve(save="900 1").url())
    assert says(look(BrokerPersistence(), broker=broker)) == ("ok", "save '900 1'")


def test_broker_persistence__that_fails(look: Look, serve: Serve, broker_at: Any) -> None:
    server = serve(save="900 1")
    fail_to_save(server)
    found = look(BrokerAnswers(), broker=broker_at(server.url()))
    assert found.severity == "error"
    assert "unable to persist to disk" in found.seen
    with server.client() as client:
        client.config_set("stop-writes-on-bgsave-error", "no")
    failed, _ = look.all(BrokerPersistence(), broker=broker_at(server.url()))
    assert isinstance(failed, Finding)
    assert says(failed) == ("error", "The last save to disk (RDB) failed.")
    assert "redis-cli -h BROKER-HOST BGSAVE" in failed.fix
    server.kill()  # asked to stop, it would try to save again


def test_broker_exposure__own_machine_only(look: Look, serve: Serve, broker_at: Any) -> None:
    found = look(BrokerExposure(), broker=broker_at(serve().url()))
    assert says(found) == ("ok", "no password, but it listens on this machine only (bind 127.0.0.1)")


@pytest.mark.parametrize(("protected", "severity"), [("no", "error"), ("yes", "info")])
def test_broker_exposure__listens_everywhere(
    look: Look, serve: Serve, broker_at: Any, protected: str, severity: str
) -> None:
    server = serve()
    with server.client() as client:
        client.config_set("protected-mode", protected)
        client.config_set("bind", "* -::*")
    found = look(BrokerExposure(), broker=broker_at(server.url()))
    assert found.severity == severity
    assert "No password" in found.seen
    with server.client() as client:  # as the fix says
        assert "CONFIG SET requirepass PASSWORD" in found.fix
        client.config_set("requirepass", PASSWORD)
    broker = broker_at(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0")
    assert says(look(BrokerExposure(), broker=broker)) == ("ok", "a password is required")


def test_broker_exposure__a_password_that_is_given_and_not_asked_for(
    look: Look, serve: Serve, broker_at: Any
) -> None:
    server = serve()
    with server.client() as client:
        client.config_set("protected-mode", "no")
        client.config_set("bind", "*")
    assert look(BrokerExposure(), broker=broker_at(limited(server))).severity == "error"
