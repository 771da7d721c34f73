"""A broker that hangs, or is away: nobody waits long for it, and what is said names it without its login."""

from __future__ import annotations

import io
import logging
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.test import Client

from embedded.ports import free_port
from embedded.redis_server import RedisServer
from tests.integration.admin.pages import WARM
from tests.integration.doctor.looking import PASSWORD, Serve
from tests.integration.doctor.sentinels import Sentinel
from warmer import jobs, tasks, warm
from warmer.models import State, Trigger, WarmingRun
from warmer.tasks import broker, find_workers, look_at_queue, request_audit, request_pending, request_run
from warmer.tasks.runs import request_refresh

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

SOON = 0.3
# A bound for what waits once or twice for so long, on a machine that is busy with other things.
NOT_LONG = 10 * SOON


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "BROKER_SECONDS", SOON)


@pytest.fixture
def hanging(serve: Serve, broker_at: Callable[..., Any]) -> RedisServer:
    """A broker that takes connections, and says nothing. Celery's settings have no time-out."""
    server = serve()
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    broker_at(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0", broker_transport_options={})
    server.pause()
    return server


@pytest.fixture
def quick() -> Any:
    """Return the seconds since the test began; fail when they are many."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < NOT_LONG


def names_it(text: str, server: RedisServer) -> bool:
    assert PASSWORD not in text
    return f"redis://127.0.0.1:{server.port}/0" in text and "Timeout" in text


@pytest.mark.usefixtures("quick")
def test_find_workers__broker_hangs(hanging: RedisServer) -> None:
    found = find_workers("warming")
    assert found.names == ()
    assert found.problem.startswith("the broker does not answer: ")
    assert names_it(found.problem, hanging)


def test_find_workers__broker_hangs_and_there_is_less_time(
    hanging: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "BROKER_SECONDS", 60.0)
    began = time.monotonic()
    assert names_it(find_workers("warming", within=SOON).problem, hanging)
    assert time.monotonic() - began < NOT_LONG


@pytest.mark.usefixtures("quick")
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


@pytest.mark.usefixtures("quick")
def test_admin__broker_hangs_and_many_jobs_are_asked_for(operator: Client, hanging: RedisServer) -> None:
    for number in range(20):
        warm(f"x{number}", name=f"x{number}")(lambda: 1)
    answer = operator.post(WARM, {"all": "1"}, follow=True)
    assert answer.status_code == 200
    shown = [str(message) for message in answer.context["messages"]]
    assert sum(names_it(text, hanging) for text in shown) >= 3
    assert {run.state for run in WarmingRun.objects.all()} == {"failed"}


def warm_cache(*args: str) -> tuple[int, str]:
    """Run the command; return its exit status, and all that it says."""
    out = io.StringIO()
    try:
        call_command("warm_cache", *args, stdout=out, stderr=out)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("flags", [(), ("--workers",), ("--no-wait",), ("--json",)])
def test_warm_cache__broker_hangs_and_the_time_is_over(
    job: Any, hanging: RedisServer, flags: tuple[str, ...]
) -> None:
    status, said = warm_cache("t", "--timeout", "0.1", *flags)
    assert status == 3
    assert said.startswith("Out of time: the broker does not answer: ")
    assert "Nothing was warmed. CELERY_BROKER_URL must lead to a server that is up" in said
    assert names_it(said, hanging)
    assert "\n" not in said


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("flag", ["--workers", "--no-wait"])
def test_warm_cache__broker_hangs_and_workers_are_asked_for(
    job: Any, hanging: RedisServer, flag: str
) -> None:
    status, said = warm_cache("t", flag)
    assert status == 1
    assert said.startswith(f"{flag}: the broker does not answer: ")
    assert names_it(said, hanging)


@pytest.mark.usefixtures("quick")
def test_warm_cache__broker_hangs_and_there_is_time_it_is_done_here(job: Any, hanging: RedisServer) -> None:
    status, said = warm_cache("t", "--timeout", "60")
    assert status == 0
    assert "Warming in this process: the broker does not answer: " in said
    assert names_it(said, hanging)
    assert WarmingRun.objects.get().state == State.COMPLETE


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("flags", "status"), [(("--timeout", "0.2"), 3), (("--no-wait",), 1)])
def test_warm_cache__broker_hangs_once_workers_are_found(
    hanging: RedisServer, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], status: int
) -> None:
    for number in range(20):
        warm(f"x{number}", name=f"x{number}")(lambda: 1)
    monkeypatch.setattr(tasks, "find_workers", lambda *_, **__: tasks.Workers(names=("a",)))
    assert warm_cache(*flags)[0] == status


def test_hung_broker__what_it_takes_later_is_dropped(job: Any, hanging: RedisServer) -> None:
    run = request_run("t", Trigger.ADMIN).run
    hanging.resume()
    broker.forget()
    again = request_run("t", Trigger.ADMIN)
    assert (again.joined, again.run.state) == (False, State.QUEUED)
    assert again.run.pk != run.pk


def test_away__is_left_alone_for_a_moment_and_then_asked_again(
    job: Any, hanging: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_run("t", Trigger.ADMIN)
    hanging.resume()
    assert "not asked again yet" in request_run("t", Trigger.ADMIN).run.error
    monkeypatch.setattr(broker, "REST_SECONDS", 0.0)
    assert request_run("t", Trigger.ADMIN).run.state == State.QUEUED
    monkeypatch.setattr(broker, "REST_SECONDS", 5.0)
    assert not broker.rests()


def test_away__schedule_insists(job: Any, hanging: RedisServer) -> None:
    request_run("t", Trigger.ADMIN)
    hanging.resume()
    assert request_run("t", Trigger.SCHEDULE).run.state == State.QUEUED


def test_away__saves_do_not_wait_each_and_are_no_runs(
    job: Any,
    broker_at: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker_at(f"redis://127.0.0.1:{free_port()}/0")
    caplog.set_level(logging.WARNING, "warmer.tasks")
    for _ in range(50):
        request_refresh(job.spec)
        request_pending()
    assert WarmingRun.objects.count() == 1
    (record,) = [each for each in caplog.records if each.name.startswith("warmer.tasks")]
    assert "Could not send" in record.getMessage()


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


@pytest.mark.usefixtures("quick")
def test_sentinel__hangs(job: Any, broker_at: Callable[..., Any]) -> None:
    """Its client would ask again and again, for some 40 s with the time-out of 3 s."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        broker_at(
            f"sentinel://:{PASSWORD}@127.0.0.1:{port}/0", broker_transport_options={"master_name": "mymaster"}
        )
        run = request_run("t", Trigger.ADMIN).run
    assert run.state == State.FAILED
    assert f"at sentinel://127.0.0.1:{port}/0" in run.error
    assert PASSWORD not in run.error
