"""Beat sends what is due, with the schedule of the database; the doctor beside it and a worker, and without."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_celery import CeleryTestContainer
from redis import Redis

from embedded.waiting import wait_until
from tests.system import site
from tests.system.nodes import Worker
from tests.system.project import Project, ended
from warmer.models import WarmingRun


def examined(project: Project, *, status: int) -> dict[str, dict[str, Any]]:
    """Return what the doctor finds, by check."""
    said = project.manage("cache_doctor", "--json", status=status)
    told = json.loads(said[: said.rindex("}") + 1])
    return {each["check"]: each for each in told["findings"]}


def test_beat__fires_the_schedule_of_the_database_as_an_operator_set_it__and_the_doctor_sees_it(
    project: Project, worker: Worker, request: pytest.FixtureRequest, redis_client: Redis
) -> None:
    entry = PeriodicTask.objects.get(name="warm user_profiles")
    entry.interval = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    entry.save()
    assert "kept as an operator set it" in project.manage("warm_schedule")
    PeriodicTask.objects.update(date_changed=timezone.now() - timedelta(minutes=6))
    found = examined(project, status=1)
    assert {name: each["severity"] for name, each in found.items() if each["severity"] == "error"} == {"beat": "error"}
    assert found["workers"]["message"] == f"queue 'warming': {worker.hostname()}"
    assert found["broker-apart"]["severity"] == "ok"
    users = site.fill()
    key = site.profile_key(users[0])
    cache.set(key, {"email": "old@example.org"}, 60)

    beat: CeleryTestContainer = request.getfixturevalue("beat_container")

    wait_until(lambda: WarmingRun.objects.exists(), what="beat has a run started")
    run = ended(WarmingRun.objects.earliest("id"))
    assert (run.job, run.trigger, run.state, run.written) == ("user_profiles", "schedule", "complete", 100)
    assert run.worker == worker.hostname()
    assert cache.get(key)["email"] == users[0].email
    assert 60 < site.lifetimes(redis_client, key)[key] <= 3600
    wait_until(lambda: WarmingRun.objects.count() > 1, what="beat fires again")
    assert set(WarmingRun.objects.values_list("job", flat=True)) == {"user_profiles"}
    assert "--scheduler" not in beat.attrs["Config"]["Cmd"]
    assert "DatabaseScheduler" in beat.logs()

    # Beat notes its first send at once; ended amid that, it would never note it.
    sent = PeriodicTask.objects.filter(last_run_at__isnull=False)
    wait_until(lambda: sent.exists(), what="beat notes what it sent")
    beat.kill("SIGTERM")
    assert beat.await_end() == 0
    found = examined(project, status=0)
    assert found["beat"]["message"].startswith("last active ")
    assert found["workers"]["severity"] == "ok"

    worker.kill()
    found = examined(project, status=0)  # a worker may not answer and work all the same
    assert found["workers"]["severity"] == "warning"
    assert "no worker answered, but one worked " in found["workers"]["message"]
    WarmingRun.objects.update(heartbeat_at=timezone.now() - timedelta(hours=1))
    found = examined(project, status=1)
    assert (found["workers"]["severity"], found["workers"]["message"]) == (
        "error",
        "Queue 'warming': no worker answered.",
    )
    assert found["queue-length"]["severity"] == "ok"
