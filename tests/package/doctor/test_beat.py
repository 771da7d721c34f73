"""The doctor on beat and its schedule."""

import json
import os
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from tests.package.doctor.support import Examine, Serve, expect
from warmer import schedule
from warmer.models import BeatProcess, JobObservation
from warmer.tasks import Broker, observe_jobs

OF_REDIS = ["broker-timeouts", "broker-eviction", "broker-exposure", "broker-persistence"]
SOME_BROKER = Broker()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("created", "sent", "observed", "severity"),
    [
        (400, None, None, "error"),  # seconds ago
        (40, None, None, "info"),
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
def test_beat__upkeep_is_switched_off(examine: Examine) -> None:
    PeriodicTask.objects.update(last_run_at=timezone.now())
    PeriodicTask.objects.filter(name="warmer: close stalled runs").update(enabled=False)
    PeriodicTask.objects.filter(name="warmer: observe the jobs").delete()
    found, alive = examine.all("beat", broker=SOME_BROKER)
    assert found.severity == "warning"
    assert found.message.startswith(f"2 of {len(schedule.UPKEEP)} ")
    assert alive.severity == "ok"


@pytest.mark.django_db
def test_beat__declared_job_is_not_in_the_schedule(examine: Examine) -> None:
    PeriodicTask.objects.update(last_run_at=timezone.now())
    PeriodicTask.objects.get(name="warm popular_posts").delete()
    PeriodicTask.objects.filter(name="warm user_profiles").update(enabled=False)  # paused by an operator
    found, alive = examine.all("beat", broker=SOME_BROKER)
    assert (found.severity, found.message) == ("warning", "popular_posts is not in beat's schedule.")
    assert found.fix.startswith("manage.py warm_schedule\n")
    assert alive.severity == "ok"


def test_beat__is_not_installed(examine: Examine) -> None:
    expect(examine("beat", broker=SOME_BROKER, has_beat=False), "error", fix="pip install warmer[beat]\n")
