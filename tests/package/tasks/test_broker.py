"""A broker that hangs, is away or refuses: nobody waits long, and messages name it without its login."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import kombu
import pytest
from celery import current_app
from celery.app.control import Inspect
from django.core.cache import cache
from django.test import Client

from config import redis_url
from embedded.ports import free_port
from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.package.admin.pages import act
from tests.package.doctor.sentinels import Sentinel
from tests.package.doctor.support import PASSWORD, Serve, configure
from tests.package.tasks.conftest import start
from tests.support.commands import ended
from warmer import jobs, runs, tasks, warm
from warmer.models import State, Trigger, WarmingRun
from warmer.tasks import broker

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_jobs"),
    pytest.mark.timeout(120),  # what waits for ever fails
]
BrokerAt = Callable[..., Any]


@pytest.fixture
def answering(serve: Serve, broker_at: BrokerAt) -> RedisServer:
    """A broker that answers."""
    server = serve()
    broker_at(server.url())
    return server


def names_it(text: str, server: RedisServer) -> bool:
    assert PASSWORD not in text
    return f"redis://127.0.0.1:{server.port}/0" in text and "Timeout" in text


def test_find_workers__waits_for_a_worker_that_answers_later_than_others(
    answering: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(inspect: Any) -> dict[str, Any]:
        fast, slow = {"fast@host": [{"name": "other"}]}, {"slow@host": [{"name": "warming"}]}
        return fast | (slow if inspect.limit is None and inspect.timeout >= 1 else {})

    monkeypatch.setattr(Inspect, "active_queues", answers)
    assert tasks.find_workers("warming").names == ("slow@host",)


# -- it hangs ------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("quick")
def test_hangs__workers_queues_runs_and_audits_say_so(job: Any, hanging: RedisServer) -> None:
    found = tasks.find_workers("warming")
    assert (found.names, names_it(found.problem, hanging)) == ((), True)
    run = tasks.request_run("t", Trigger.ADMIN).run
    assert (run.state, names_it(run.error, hanging)) == (State.FAILED, True)
    with pytest.raises(broker.BrokerUnavailable) as refused:
        tasks.request_audit(job.spec)
    assert names_it(str(refused.value), hanging)
    assert not found.may_work
    assert tasks.queue_lengths(["warming"]) == {}


@pytest.mark.usefixtures("quick")
def test_hangs__admin_that_is_asked_for_many_jobs(operator: Client, hanging: RedisServer) -> None:
    for number in range(5):
        warm(f"x{number}", name=f"x{number}")(lambda: 1)
    answer = act(operator, "warm *", follow=True)
    assert answer.status_code == 200
    shown = [str(message) for message in answer.context["messages"]]
    assert sum(names_it(text, hanging) for text in shown) >= 3
    assert {run.state for run in WarmingRun.objects.all()} == {"failed"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (("--timeout", "0.1"), 3),
        (("--timeout", "0.1", "--workers"), 3),
        (("--timeout", "0.1", "--json"), 3),
        (("--workers",), 1),
        (("--no-wait",), 1),
        (("--timeout", "60"), 0),
    ],
)
def test_hangs__warm_cache_does_it_here_or_says_that_it_needs_workers(
    job: Any, hanging: RedisServer, flags: tuple[str, ...], status: int
) -> None:
    found, said = ended("warm_cache", "t", *flags)
    assert (found, names_it(said, hanging)) == (status, True)
    states = [] if status else [State.COMPLETE]
    assert list(WarmingRun.objects.values_list("state", flat=True)) == states
    assert not status or "\n" not in said


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("flags", "status"), [(("--timeout", "0.2"), 3), (("--no-wait",), 1)])
def test_hangs__once_warm_cache_has_found_workers(
    hanging: RedisServer, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], status: int
) -> None:
    for number in range(5):
        warm(f"x{number}", name=f"x{number}")(lambda: 1)
    monkeypatch.setattr(tasks, "find_workers", lambda *_, **__: tasks.Workers(names=("a",)))
    assert ended("warm_cache", *flags)[0] == status


# -- it is left alone for a moment, then asked again -----------------------------------------------------
def test_rest__ends(job: Any, hanging: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tasks.request_run("t", Trigger.ADMIN).run
    hanging.resume()
    monkeypatch.setattr(broker, "BROKER_SECONDS", 20.0)
    assert "not retried yet" in tasks.request_run("t", Trigger.ADMIN).run.error
    monkeypatch.setattr(broker, "REST_SECONDS", 0.0)
    again = tasks.request_run("t", Trigger.ADMIN)
    assert (again.joined, again.run.state) == (False, State.QUEUED)
    assert again.run.pk != first.pk
    monkeypatch.setattr(broker, "REST_SECONDS", 5.0)
    assert not broker.is_resting()


@pytest.mark.usefixtures("impatient")
def test_rest__saves_do_not_wait_each_and_are_no_runs(
    make_post: Any, broker_at: BrokerAt, caplog: pytest.LogCaptureFixture
) -> None:
    warm("r", name="r", depends_on=[Post], on_change="refresh")(lambda: 1)
    post = make_post()
    WarmingRun.objects.all().delete()
    broker_at(f"redis://127.0.0.1:{free_port()}/0")
    broker.forget()
    caplog.set_level(logging.WARNING, "warmer.tasks")
    caplog.clear()
    for _ in range(20):
        jobs["r"].get()
        post.save()
        assert cache.get("r") is None
        tasks.request_refresh(jobs["r"].spec)
    assert WarmingRun.objects.filter(job="r").count() == 1
    assert sum(record.name == "warmer.tasks.runs" for record in caplog.records) == 1


# -- it refuses ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("is_full", [False, True])
def test_down_or_full__is_said_and_run_that_starts_is_done_by_its_worker(
    job: Any, answering: RedisServer, is_full: bool
) -> None:
    run = runs.open_run("t", Trigger.COMMAND).run
    if is_full:
        configure(answering, maxmemory="1")
    else:
        answering.stop()
    start(run)
    assert (run.state, run.batches_done, run.written) == (State.COMPLETE, 3, 10)
    refused = tasks.request_run("t", Trigger.ADMIN).run
    assert refused.state == State.FAILED
    why = "command not allowed when used memory > 'maxmemory'" if is_full else "The broker does not answer"
    assert why in refused.error


def test_not_allowed__is_said(answering: RedisServer) -> None:
    with answering.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-publish")
    assert "no permissions to run the 'publish' command" in tasks.find_workers("warming").problem


# -- it answers ------------------------------------------------------------------------------------------
def test_send__as_celery_would(job: Any, answering: RedisServer) -> None:
    tasks.request_run("t", Trigger.ADMIN, expires_in=timedelta(minutes=5))
    with current_app.connection_for_read() as connection, connection.SimpleQueue("warming") as queue:
        message = queue.get_nowait()
    assert message.headers["task"] == "warmer.start_run"
    assert message.headers["expires"]
    assert jobs["t"].spec.queue == message.delivery_info["routing_key"]


def test_send__another_host_that_cannot_be_parsed_does_not_matter(job: Any, serve: Serve, broker_at: BrokerAt) -> None:
    broker_at(f"{serve().url()};user:secret@other:6379/0")
    assert tasks.request_run("t", Trigger.ADMIN).run.state == State.QUEUED
    assert not tasks.look_at_broker().problem


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "site1:"}])
def test_queue_lengths__count_every_priority(
    job: Any, serve: Serve, broker_at: BrokerAt, options: dict[str, str]
) -> None:
    broker_at(serve().url(), broker_transport_options=options)
    assert tasks.queue_lengths(["warming", "other"]) == {"warming": 0, "other": 0}
    tasks.request_run("t", Trigger.ADMIN)
    for _ in range(2):
        tasks.close_stalled_runs.apply_async(queue="warming")
    assert tasks.queue_lengths(["warming", "other"]) == {"warming": 3, "other": 0}


def test_queue_lengths__broker_that_does_not_tell(answering: RedisServer) -> None:
    with answering.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-llen")
    assert tasks.queue_lengths(["warming"]) == {}


# -- a queue that Celery does not know -------------------------------------------------------------------
def test_undeclared_queue__is_said(job: Any, serve: Serve, broker_at: BrokerAt) -> None:
    declared = [kombu.Queue("celery")]
    broker_at(serve().url(), task_create_missing_queues=False, task_queues=declared)
    assert tasks.undeclared_queues() == ["warming"]
    found = tasks.find_workers("warming")
    assert (found.problem, found.may_work) == ("Celery does not know the queue 'warming'", False)
    with pytest.raises(broker.BrokerUnavailable) as refused:
        tasks.request_audit(job.spec)
    for error in (found.advice, tasks.request_run("t", Trigger.ADMIN).run.error, str(refused.value)):
        assert "dd Queue('warming') to CELERY_TASK_QUEUES" in error
    assert not broker.is_resting()
    declared.append(kombu.Queue("warming"))
    broker_at(serve().url(), task_create_missing_queues=False, task_queues=declared)
    assert tasks.undeclared_queues() == []
    assert tasks.request_run("t", Trigger.ADMIN).run.state == State.QUEUED


@pytest.mark.parametrize("address", ["sentinel://127.0.0.1:1", "redis://:12/a/secret@127.0.0.1:1/0"])
def test_address__that_only_connecting_shows_to_be_wrong_is_said(job: Any, broker_at: BrokerAt, address: str) -> None:
    broker_at(address)
    run = tasks.request_run("t", Trigger.ADMIN).run
    assert (run.state, run.error) == (State.FAILED, broker.INVALID)
    found = tasks.look_at_broker()
    assert found.problem == broker.INVALID
    assert not {"secret", "a"} & {*found.address.replace("%40", "/").split("/")}


# -- Sentinel --------------------------------------------------------------------------------------------
def test_sentinel__leads_to_the_master(job: Any, serve: Serve, broker_at: BrokerAt, tmp_path: Path) -> None:
    master = serve()
    with Sentinel(folder=tmp_path, master=master.port, quorum=1) as sentinel:
        broker_at(f"sentinel://127.0.0.1:{sentinel.port}/0", broker_transport_options={"master_name": "mymaster"})
        assert tasks.request_run("t", Trigger.ADMIN).run.state == State.QUEUED
        assert tasks.find_workers("warming", timeout=0.1).problem == "no worker answered"
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
def test_sentinel__hangs(job: Any, broker_at: BrokerAt, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the project's own settings it is given up soon; redis-py would go on for some 40 seconds."""
    monkeypatch.setattr(redis_url, "SENTINEL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        given = redis_url.broker_settings(f"redis-sentinel://:{PASSWORD}@127.0.0.1:{port}/mymaster")
        broker_at(given["url"], broker_transport_options=given["transport_options"])
        run = tasks.request_run("t", Trigger.ADMIN).run
        assert times_asked(silent) <= 2
        connection = current_app.connection_for_read()  # as a worker does
        with connection, pytest.raises(connection.connection_errors):
            connection.connect()
        assert times_asked(silent) <= 4  # kombu tries a few times; redis-py would eleven times, each time
    assert run.state == State.FAILED
    assert f"at sentinel://127.0.0.1:{port}/0" in run.error
    assert PASSWORD not in run.error
