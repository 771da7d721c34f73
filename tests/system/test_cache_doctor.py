"""The doctor beside a living worker and beat, and after they have died."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from embedded.waiting import wait_until
from tests.system.nodes import Worker
from tests.system.project import Project
from warmer.models import WarmingRun


def examined(project: Project, *, status: int) -> dict[str, dict[str, Any]]:
    """Return what the doctor finds, by check."""
    said = project.manage("cache_doctor", "--json", status=status)
    told = json.loads(said[: said.rindex("}") + 1])
    return {each["check"]: each for each in told["findings"]}


def test_doctor__worker_and_beat(project: Project, worker: Worker, request: pytest.FixtureRequest) -> None:
    PeriodicTask.objects.filter(name="warm popular_posts").update(
        interval=IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    )
    PeriodicTask.objects.update(date_changed=timezone.now() - timedelta(minutes=6))
    found = examined(project, status=1)
    assert {name: each["severity"] for name, each in found.items() if each["severity"] == "error"} == {"beat": "error"}
    assert found["workers"]["message"] == f"queue 'warming': {worker.hostname()}"
    assert found["broker-apart"]["severity"] == "ok"

    beat = request.getfixturevalue("beat_container")
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
