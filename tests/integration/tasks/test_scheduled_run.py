"""A scheduled run expires when the next is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from warmer import tasks
from warmer.models import State, WarmingRun
from warmer.tasks import scheduled_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_scheduled_run__expires_when_the_next_is_due(job: Any) -> None:
    scheduled_run("t")
    run = WarmingRun.objects.get()
    assert (run.trigger, run.state) == ("schedule", State.COMPLETE)
    assert run.expires_at - run.requested_at == timedelta(minutes=15)


def test_scheduled_run__expires_with_its_message__by_the_interval_of_an_operator(job: Any) -> None:
    scheduled_run.push_request(expires=(timezone.now() + timedelta(days=1)).isoformat())
    try:
        scheduled_run.run("t")
    finally:
        scheduled_run.pop_request()
    run = WarmingRun.objects.get()
    assert timedelta(hours=23) < run.expires_at - run.requested_at <= timedelta(days=1)


@pytest.mark.parametrize("zone", ["", "+00:00"])
def test_scheduled_run__expires_with_its_message__where_use_tz_is_off(
    job: Any, settings: Any, zone: str
) -> None:
    settings.USE_TZ = False
    at = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    task: Any = SimpleNamespace(request=SimpleNamespace(expires=f"{at.isoformat()}{zone}"))
    until = tasks.runs._until_due_again(task, job.spec)
    assert until is not None
    assert timedelta(minutes=59) < until <= timedelta(hours=1)
