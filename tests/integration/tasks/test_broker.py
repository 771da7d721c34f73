"""A broker that hangs, or is away: nobody waits long for it, and what is said names it without its login."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app

from config import redis_url
from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import PASSWORD, Serve
from tests.integration.doctor.sentinels import Sentinel
from tests.integration.tasks.hanging import SOON, names_it
from warmer import jobs
from warmer.models import State, Trigger
from warmer.tasks import broker, find_workers, look_at_queue, request_audit, request_run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_jobs"),
    pytest.mark.timeout(120),  # what waits for ever fails
]


@pytest.mark.usefixtures("quick")
def test_find_workers__broker_hangs(hanging: RedisServer) -> None:
    found = find_workers("warming")
    assert found.names == ()
    assert found.problem.startswith("the broker does not answer: ")
    assert names_it(found.problem, hanging)


def test_find_workers__broker_hangs_and_there_is_less_time(
    hanging: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "BROKER_SECONDS", 3600.0)
    assert names_it(find_workers("warming", within=SOON).problem, hanging)


@pytest.mark.usefixtures("impatient")
def test_find_workers__broker_hangs_once_it_has_answered(
    serve: Serve,
    broker_at: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve()
    broker_at(server.url(), broker_transport_options={})
    reach = broker.reach

    def then_pause(connection: Any, **options: Any) -> None:
        reach(connection, **options)
        server.pause()

    monkeypatch.setattr(broker, "reach", then_pause)
    assert names_it(find_workers("warming").problem, server)


@pytest.mark.usefixtures("quick")
def test_request_run__broker_hangs(job: Any, hanging: RedisServer) -> None:
    run = request_run("t", Trigger.ADMIN).run
    assert run.state == State.FAILED
    assert run.error.startswith("The broker does not answer: ")
    assert names_it(run.error, hanging)


@pytest.mark.usefixtures("quick")
def test_request_audit__broker_hangs(job: Any, hanging: RedisServer) -> None:
    assert names_it(request_audit(job.spec), hanging)


@pytest.mark.usefixtures("quick", "hanging")
def test_look_at_queue__broker_hangs() -> None:
    found = look_at_queue("warming")
    assert (found.workers, found.length) == ((), None)


def test_full__is_said(job: Any, serve: Serve, broker_at: Callable[..., Any]) -> None:
    server = serve()
    broker_at(server.url())
    with server.client() as client:
        client.config_set("maxmemory", "1")
    run = request_run("t", Trigger.ADMIN).run
    assert run.state == State.FAILED
    assert "command not allowed when used memory > 'maxmemory'" in run.error


def test_not_allowed__is_said(serve: Serve, broker_at: Callable[..., Any]) -> None:
    server = serve()
    broker_at(server.url())
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-publish")
    assert find_workers("warming").problem.startswith("the broker refuses: NoPermissionError")


def test_send__as_celery_would(job: Any, serve: Serve, broker_at: Callable[..., Any]) -> None:
    broker_at(serve().url())
    request_run("t", Trigger.ADMIN, expires_in=timedelta(minutes=5))
    with current_app.connection_for_read() as connection, connection.SimpleQueue("warming") as queue:
        message = queue.get_nowait()
    assert message.headers["task"] == "warmer.start_run"
    assert message.headers["expires"]
    assert jobs["t"].spec.queue == message.delivery_info["routing_key"]


def test_sentinel__leads_to_the_master(
    job: Any,
    serve: Serve,
    broker_at: Callable[..., Any],
    tmp_path: Path,
) -> None:
    master = serve()
    with Sentinel(folder=tmp_path, master=master.port, quorum=1) as sentinel:
        broker_at(
            f"sentinel://127.0.0.1:{sentinel.port}/0", broker_transport_options={"master_name": "mymaster"}
        )
        assert request_run("t", Trigger.ADMIN).run.state == State.QUEUED
        assert find_workers("warming", timeout=0.1).problem == "no worker answers"
    with master.client() as client:
        assert client.llen("warming\x06\x163") == 1


def times_asked(silent: socket.socket) -> int:
    """Return how many connections wait for a server that takes them and says nothing."""
    silent.setblocking(False)
    asked = 0
    with suppress(BlockingIOError):
        while True:
            silent.accept()[0].close()
            asked += 1
    return asked


@pytest.mark.usefixtures("impatient")
def test_sentinel__hangs(job: Any, broker_at: Callable[..., Any]) -> None:
    """Its client would ask again and again, for some 40 s with the time-out of 3 s."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        broker_at(
            f"sentinel://:{PASSWORD}@127.0.0.1:{port}/0", broker_transport_options={"master_name": "mymaster"}
        )
        run = request_run("t", Trigger.ADMIN).run
        assert times_asked(silent) <= 2
    assert run.state == State.FAILED
    assert f"at sentinel://127.0.0.1:{port}/0" in run.error
    assert PASSWORD not in run.error


def test_sentinel__hangs_and_a_worker_connects(
    broker_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the project's own settings it is given up soon."""
    monkeypatch.setattr(redis_url, "SOCKET_TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = redis_url.broker_settings(f"redis-sentinel://127.0.0.1:{silent.getsockname()[1]}/mymaster")
        broker_at(given["url"], broker_transport_options=given["transport_options"])
        connection = current_app.connection_for_read()
        with connection, pytest.raises(connection.connection_errors):
            connection.connect()
        assert times_asked(silent) <= 4  # kombu tries a few times; redis-py would eleven times, each time
