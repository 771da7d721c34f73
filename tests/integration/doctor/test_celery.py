"""The doctor on workers, queues and beat. Live workers: tests/system/test_cache_doctor.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import Look, Serve, says
from warmer import schedule, tasks
from warmer.doctor.broker import IN_PROCESS, BrokerApart, BrokerEviction, BrokerExposure, BrokerPersistence
from warmer.doctor.celery import BeatAlive, CeleryPickle, QueueLength, Workers
from warmer.models import JobObservation
from warmer.schedule import Beat
from warmer.tasks import Broker, close_stalled_runs

NO_BEAT = Broker(app="config", is_redis=True)
BROKER_CHECKS = [BrokerApart(), BrokerEviction(), BrokerExposure(), BrokerPersistence()]


@pytest.mark.parametrize("check", [Workers(), QueueLength(), BeatAlive(), *BROKER_CHECKS])
def test_checks_of_celery__are_not_made_when_tasks_run_in_process(
    look: Look, serve: Serve, check: Any
) -> None:
    where = serve() if isinstance(check, BrokerApart) else ""
    assert look.not_checked(check, where, broker=tasks.look_at_broker()) == IN_PROCESS


def test_workers__none(look: Look, serve: Serve, broker_at: Any) -> None:
    broker = broker_at(serve().url())
    found = look(Workers(), broker=broker, queues=(tasks.look_at_queue("warming"),))
    assert says(found) == ("error", "Queue 'warming': no worker answers.")
    assert found.fix.startswith("celery -A config worker -Q warming\n")


def test_queue_length(look: Look, serve: Serve, broker_at: Any) -> None:
    server = serve()
    broker = broker_at(server.url())

    def found() -> Any:
        return look(QueueLength(), broker=broker, queues=(tasks.look_at_queue("warming"),))

    assert says(found()) == ("ok", "queue 'warming' is empty")
    close_stalled_runs.apply_async(queue="warming")
    assert says(found()) == ("ok", "queue 'warming': 1 message waiting")
    with server.client() as client:
        (message,) = client.lrange("warming", 0, -1)
        client.lpush("warming", *[message] * 600)
    assert says(found()) == ("warning", "Queue 'warming': 601 messages waiting.")


def test_queue_length__of_a_priority_is_counted(serve: Serve, broker_at: Any) -> None:
    broker_at(serve().url())
    close_stalled_runs.apply_async(queue="warming", priority=9)
    assert tasks.look_at_queue("warming").length == 1


@pytest.mark.parametrize(
    ("accepted", "severity"), [(["json"], "ok"), (["json", "pickle"], "error"), (["yaml"], "error")]
)
def test_celery_pickle(look: Look, serve: Serve, broker_at: Any, accepted: list[str], severity: str) -> None:
    broker = broker_at(serve().url(), accept_content=accepted)
    assert look(CeleryPickle(), broker=broker).severity == severity


# -- beat ------------------------------------------------------------------------------------------
@pytest.mark.django_db
def test_beat__has_never_sent_anything(look: Look) -> None:
    later = timezone.now() + timedelta(minutes=6)
    found = look(BeatAlive(), broker=NO_BEAT, beat=schedule.look_at_beat(), now=lambda: later)
    assert says(found) == ("error", "Beat has never sent anything.")
    assert found.fix.startswith("celery -A config beat\n")


@pytest.mark.django_db
def test_beat__is_given_time_after_its_entries_were_made(look: Look) -> None:
    made = timezone.now()
    PeriodicTask.objects.update(date_changed=made)
    beat, later = schedule.look_at_beat(), made + timedelta(seconds=40)
    seen = look(BeatAlive(), broker=NO_BEAT, beat=beat, now=lambda: later)
    assert says(seen) == ("info", "Nothing is known of beat yet: it has had something to send for 40 s.")
    PeriodicTask.objects.all().delete()
    *_, found = look.all(BeatAlive(), broker=NO_BEAT, beat=schedule.look_at_beat(), now=lambda: later)
    assert found.seen == "Beat has never sent anything."  # type: ignore[union-attr]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ago", "severity", "said"),
    [
        (timedelta(seconds=40), "ok", "last seen 40 s ago"),
        (timedelta(minutes=4), "ok", "last seen 4 min ago"),  # it writes every 3 minutes only
        (timedelta(minutes=20), "error", "Beat last sent something 20 min ago."),
        (timedelta(days=3), "error", "Beat last sent something 3 d ago."),
    ],
)
def test_beat__was_last_seen(look: Look, ago: timedelta, severity: str, said: str) -> None:
    now = timezone.now()
    PeriodicTask.objects.filter(name="warmer: close stalled runs").update(last_run_at=now - ago)
    found = look(BeatAlive(), broker=NO_BEAT, beat=schedule.look_at_beat(), now=lambda: now)
    assert says(found) == (severity, said)


@pytest.mark.django_db
def test_beat__that_has_just_started_is_seen_by_what_it_had_observed(look: Look) -> None:
    now = timezone.now()
    JobObservation.objects.create(job="posts", attempted_at=now - timedelta(seconds=30))
    found = look(BeatAlive(), broker=NO_BEAT, beat=schedule.look_at_beat(), now=lambda: now)
    assert says(found) == ("ok", "last seen 30 s ago")


@pytest.mark.django_db
def test_beat__upkeep_is_switched_off(look: Look) -> None:
    now = timezone.now()
    PeriodicTask.objects.update(last_run_at=now)
    PeriodicTask.objects.filter(name="warmer: close stalled runs").update(enabled=False)
    PeriodicTask.objects.filter(name="warmer: observe the jobs").delete()
    found, alive = look.all(BeatAlive(), broker=NO_BEAT, beat=schedule.look_at_beat(), now=lambda: now)
    assert found.severity == "warning"  # type: ignore[union-attr]
    assert found.seen.startswith(f"2 of {len(schedule.UPKEEP)} entries")  # type: ignore[union-attr]
    assert alive.severity == "ok"  # type: ignore[union-attr]


def test_beat__is_not_installed(look: Look) -> None:
    found = look(BeatAlive(), broker=NO_BEAT)
    assert found.severity == "error"
    assert "django_celery_beat is not installed" in found.seen


def test_beat__facts_are_of_the_current_app(broker_at: Any, redis_server: RedisServer) -> None:
    broker_at(redis_server.url(1))
    assert current_app.main == "config"
    assert Beat().last_sent is None
