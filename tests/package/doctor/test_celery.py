"""The doctor on the broker, the queues, and beat and its schedule. Live workers: tests/system/test_beat.py."""

import json
import os
from datetime import timedelta
from typing import Any, cast
from unittest.mock import Mock

import pytest
from celery import current_app
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from kombu import Queue

from embedded.ports import free_port
from tests.package.doctor.support import PASSWORD, Examine, Serve, configure, expect, fail_to_save, limited
from tests.package.doctor.tls import CERTIFICATE, in_front_of
from warmer import schedule, tasks
from warmer.models import BeatProcess, JobObservation, Trigger
from warmer.runs import open_run
from warmer.tasks import Broker, close_stalled_runs, observe_jobs

OF_REDIS = ["broker-timeouts", "broker-eviction", "broker-exposure", "broker-persistence"]
SOME_BROKER = Broker()


# -- the broker ------------------------------------------------------------------------------------
def test_broker(examine: Examine, serve: Serve, broker_at: Any, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    assert examine("broker").severity == "warning"  # tasks run in process
    settings.DEBUG = True
    assert examine("broker").severity == "ok"
    server = serve()
    broker_at(server.url(3))
    assert examine("broker").message == f"redis://127.0.0.1:{server.port}/3"
    broker_at(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
    assert examine("broker").severity == "error"
    broker_at(f"redis-sentinel://:{PASSWORD}@127.0.0.1/mymaster")
    assert "No such transport: redis-sentinel" in examine("broker").message
    broker_at(f"redis://:{PASSWORD}/not-escaped@127.0.0.1/0")
    assert examine("broker").message == "The broker's address cannot be parsed."
    configure(server, requirepass="another")
    broker_at(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0")
    assert examine("broker").fix.startswith('CELERY_BROKER_URL = "redis://USER:PASSWORD@HOST:PORT/0"\n')
    with in_front_of(server.port, CERTIFICATE) as port:
        broker_at(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=required")
        assert examine("broker").fix.startswith('CELERY_BROKER_URL = "rediss://HOST:PORT/0?ssl_ca_certs=')
    monkeypatch.setattr(tasks.broker, "BROKER_SECONDS", 0.2)
    server.pause()
    broker_at(server.url())
    assert examine("broker").severity == "error"


def test_broker__fix_logs_in_as_celery_does(examine: Examine, broker_at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.broker, "reach", Mock(side_effect=TimeoutError("Timeout reading from socket")))
    for address, options in {
        "redis://broker:6380/1": "-h broker -p 6380",
        f"redis://:{PASSWORD}@broker/1": "-h broker -p 6379 --askpass",
        f"rediss://ops:{PASSWORD}@broker:6380/1?ssl_cert_reqs=none": "-h broker -p 6380 --tls --user ops --askpass",
    }.items():
        broker_at(address)
        assert examine("broker").fix.splitlines()[0] == f"redis-cli {options} --latency"


@pytest.mark.parametrize(("namespace", "name"), [("CELERY", "CELERY_BROKER_URL"), (None, "BROKER_URL")])
def test_broker__none_is_set(
    examine: Examine, broker_at: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, namespace: str | None, name: str
) -> None:
    monkeypatch.setattr(tasks.broker, "reach", Mock(side_effect=ConnectionRefusedError))
    broker_at("")
    del settings.CELERY_BROKER_URL
    current_app.namespace = namespace
    said = f"o broker is set: {name} is missing, so Celery uses amqp://localhost:5672//"
    found = examine("broker")
    assert (found.severity, said in found.message, "CELERY_BROKER_URL=" in found.fix) == ("error", True, True)
    tasks.broker.forget()
    assert tasks.find_workers("warming").problem == f"n{said}"
    broker_at("redis://127.0.0.1:1/0")
    assert "No broker is set" not in examine("broker").message


def test_broker__setting_that_the_app_does_not_read(
    examine: Examine, serve: Serve, broker_at: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.CELERY_BROKER_URL, settings.BROKER_URL = serve().url(), "redis://elsewhere:6379"
    broker_at(settings.CELERY_BROKER_URL)
    assert examine("broker").severity == "ok"  # the variable comes before both settings
    monkeypatch.delenv("CELERY_BROKER_URL")
    unread, answers = examine.all("broker")
    assert (unread.severity, answers.severity) == ("warning", "ok")
    assert unread.message.startswith("No Celery app reads BROKER_URL: tasks go to redis://127.0.0.1:")


@pytest.mark.parametrize("check", ["workers", "queue-length", "beat", "broker-apart", *OF_REDIS])
def test_checks_of_celery__are_skipped_when_tasks_run_in_process(examine: Examine, serve: Serve, check: Any) -> None:
    found = examine(check, serve() if check == "broker-apart" else "")
    assert found.message == "tasks run in process, without a broker"


def test_broker__that_is_not_redis(examine: Examine) -> None:
    for check in OF_REDIS:
        found = examine(check, broker=Broker(address="amqp://broker//"))
        assert found.message == "the broker is not a Redis server"


def test_broker_timeouts(examine: Examine, serve: Serve, broker_at: Any) -> None:
    server = serve()
    for options, severity in (({}, "warning"), ({"socket_timeout": 5}, "ok")):
        broker_at(server.url(), broker_transport_options=options)
        assert examine("broker-timeouts").severity == severity


@pytest.mark.parametrize(
    ("policy", "limit", "database", "severity"),
    [
        ("allkeys-lru", "100mb", 1, "error"),
        ("allkeys-lru", "0", 1, "warning"),
        ("volatile-lru", "100mb", 1, "warning"),
        ("noeviction", "100mb", 1, "warning"),
        ("noeviction", "100mb", 0, "error"),
    ],
)
def test_broker_apart(
    examine: Examine, serve: Serve, broker_at: Any, policy: str, limit: str, database: int, severity: str
) -> None:
    server = serve(maxmemory=limit, maxmemory_policy=policy)
    broker_at(f"redis://localhost:{server.port}/{database}")  # by another name than the cache's
    found = examine("broker-apart", server)
    assert found.severity == severity
    assert ("share database 0" in found.message) == (database == 0)
    broker_at(serve().url())
    assert examine("broker-apart", server).severity == "ok"


def test_broker__that_forbids_a_command(examine: Examine, serve: Serve, broker_at: Any) -> None:
    server = serve()
    for without, check in (("-info", "broker-eviction"), ("-config", "broker-persistence")):
        broker_at(limited(server, without))
        assert examine("broker").severity == "ok"
        assert examine(check).severity == "info"
    assert examine("broker-exposure").severity == "info"


def test_broker_persistence__that_fails(examine: Examine, serve: Serve, broker_at: Any) -> None:
    server = serve(save="900 1")
    fail_to_save(server)
    broker_at(server.url())
    assert examine("broker").severity == "error"
    configure(server, stop_writes_on_bgsave_error="no")
    expect(examine("broker-persistence"), "error", advises=f"-p {server.port} BGSAVE")
    server.kill()  # asked to stop, it would try to save again


def test_broker_exposure(examine: Examine, serve: Serve, broker_at: Any) -> None:  # more: test_exposure
    server = serve()
    broker_at(server.url())
    assert examine("broker-exposure").severity == "ok"
    configure(server, protected_mode="no", bind="* -::*")
    for url in (server.url(), limited(server, "")):  # also with a login that nobody asks for
        broker_at(url)
        assert examine("broker-exposure").severity == "error"


def test_celery_pickle(examine: Examine, broker_at: Any) -> None:  # each case: the check warmer.W004
    broker_at("redis://127.0.0.1:1/0", accept_content=["json"])
    assert examine("celery-pickle").severity == "ok"
    broker_at("redis://127.0.0.1:1/0", accept_content=["pickle"], task_serializer="pickle")
    expect(examine("celery-pickle"), "error", advises="CELERY_TASK_SERIALIZER")


# -- queues ----------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_workers__none_answers(examine: Examine, serve: Serve, broker_at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(Any, tasks.find_workers).__kwdefaults__, "timeout", 0.1)
    broker_at(serve().url())
    run = open_run("popular_posts", Trigger.SCHEDULE).run
    run.requested_at = timezone.now() - timedelta(minutes=1)
    for trigger, worker, minutes, severity in (
        (Trigger.SCHEDULE, "", 1, "error"),
        (Trigger.SCHEDULE, "celery@host", 1, "warning"),  # it may not answer and work all the same
        (Trigger.SCHEDULE, "celery@host", 60, "error"),
        (Trigger.DEPLOY, "123@host", 1, "error"),
    ):
        run.trigger, run.worker = trigger, worker
        run.heartbeat_at = timezone.now() - timedelta(minutes=minutes)
        run.save()
        found = examine("workers")
        assert (found.severity, "no worker answered" in found.message) == (severity, True)
    assert found.fix.startswith("celery -A config worker -Q warming\n")


def test_workers__queue_that_celery_does_not_know(examine: Examine, serve: Serve, broker_at: Any) -> None:
    broker_at(serve().url(), task_create_missing_queues=False, task_queues=[Queue("celery")])
    found = examine("workers")
    assert (found.severity, found.fix[:22]) == ("error", "Add Queue('warming') t")
    assert examine("queue-length").severity == "ok"


def test_queue_length__is_unknown(examine: Examine) -> None:  # tasks run in process, so nothing is asked
    expect(examine("queue-length", broker=SOME_BROKER), "skipped", says="unknown")


def test_queue_length(examine: Examine, serve: Serve, broker_at: Any) -> None:
    server = serve()
    broker_at(server.url())
    for count in (0, 1):
        assert examine("queue-length").message == f"queue 'warming': {count} message{'s'[count:]} waiting"
        close_stalled_runs.apply_async(queue="warming")
    with server.client() as client:
        client.lpush("warming", *client.lrange("warming", 0, 0) * 600)
    assert examine("queue-length").severity == "warning"


# -- beat ------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("created", "sent", "observed", "severity"),
    [
        (400, None, None, "error"),  # seconds ago
        (40, None, None, "ok"),
        (400, 40, None, "ok"),
        (400, 240, None, "ok"),  # it saves what it sent every 3 minutes only
        (400, 1200, None, "error"),
        (400, None, 30, "ok"),
    ],
)
def test_beat(examine: Examine, created: int, sent: int | None, observed: int | None, severity: str) -> None:
    now = timezone.now()
    PeriodicTask.objects.update(date_changed=now - timedelta(seconds=created))
    JobObservation.objects.create(job="posts")  # a run makes these too
    if sent is not None:
        PeriodicTask.objects.filter(name="warmer: close stalled runs").update(last_run_at=now - timedelta(seconds=sent))
    if observed is not None:
        BeatProcess.objects.create(name="gen1@a", last_at=now - timedelta(seconds=observed))
    assert examine("beat", broker=SOME_BROKER).severity == severity


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("one", "other", "are_two"),  # the first and the last message of each, seconds ago
    [
        ((300, 10), (60, 0), True),
        ((300, 70), (71, 0), False),  # a restart
        ((300, 0), (60, 60), False),  # a task that somebody sent by hand
        ((9000, 600), (9000, 600), False),  # over
    ],
)
def test_beat__two_run(examine: Examine, one: tuple[int, int], other: tuple[int, int], are_two: bool) -> None:
    for name, span in {"gen1@a": one, "gen2@b": other}.items():
        first_at, last_at = (timezone.now() - timedelta(seconds=each) for each in span)
        BeatProcess.objects.create(name=name, first_at=first_at, last_at=last_at)
    messages = [each.message for each in examine.all("beat", broker=SOME_BROKER)]
    assert ("2 beats run at the same time: gen1@a, gen2@b." in messages) is are_two


@pytest.mark.django_db
def test_beat__is_known_by_its_messages(serve: Serve, broker_at: Any) -> None:
    server = serve()
    broker_at(server.url())
    observe_jobs.apply_async(queue="warming")
    with server.client() as client:
        headers = json.loads(client.lindex("warming", 0))["headers"]
    observe_jobs.push_request(**headers)
    try:
        observe_jobs.run()
        observe_jobs.run()
    finally:
        observe_jobs.pop_request()
    beat = BeatProcess.objects.get()
    assert str(os.getpid()) in beat.name
    assert beat.first_at < beat.last_at


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("gone", "switched_off", "says"),
    [
        (
            "warmer: observe the jobs",
            "warmer: close stalled runs",
            f"Beat's schedule lacks 2 of {len(schedule.UPKEEP)}",
        ),
        ("warm popular_posts", "warm user_profiles", "Beat's schedule lacks popular_posts."),  # the other is paused
    ],
)
def test_beat__entry_is_missing(examine: Examine, gone: str, switched_off: str, says: str) -> None:
    PeriodicTask.objects.update(last_run_at=timezone.now())
    PeriodicTask.objects.get(name=gone).delete()
    PeriodicTask.objects.filter(name=switched_off).update(enabled=False)
    found, alive = examine.all("beat", broker=SOME_BROKER)
    expect(found, "warning", fix="manage.py warm_schedule\n")
    assert found.message.startswith(says)
    assert alive.severity == "ok"


def test_beat__is_not_installed(examine: Examine) -> None:
    expect(examine("beat", broker=SOME_BROKER, schedule=None), "error", fix='pip install "warmer[beat]"\n')
