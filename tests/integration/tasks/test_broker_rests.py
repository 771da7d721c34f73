"""A broker that gave no answer is left alone for a moment, and then asked again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache

from embedded.ports import free_port
from embedded.redis_server import RedisServer
from myapp.models import Post
from warmer import jobs, warm
from warmer.models import State, Trigger, WarmingRun
from warmer.tasks import broker, request_run
from warmer.tasks.runs import request_refresh

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_jobs"),
    pytest.mark.timeout(120),  # what waits for ever fails
]


def test_hung_broker__is_asked_again_later(
    job: Any, hanging: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = request_run("t", Trigger.ADMIN).run
    hanging.resume()
    monkeypatch.setattr(broker, "BROKER_SECONDS", 20.0)
    broker.forget()
    again = request_run("t", Trigger.ADMIN)
    assert (again.joined, again.run.state) == (False, State.QUEUED)
    assert again.run.pk != run.pk


def test_away__is_left_alone_for_a_moment_and_then_asked_again(
    job: Any, hanging: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_run("t", Trigger.ADMIN)
    hanging.resume()
    monkeypatch.setattr(broker, "BROKER_SECONDS", 20.0)
    assert "not asked again yet" in request_run("t", Trigger.ADMIN).run.error
    monkeypatch.setattr(broker, "REST_SECONDS", 0.0)
    assert request_run("t", Trigger.ADMIN).run.state == State.QUEUED
    monkeypatch.setattr(broker, "REST_SECONDS", 5.0)
    assert not broker.rests()


def test_away__schedule_insists(job: Any, hanging: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    request_run("t", Trigger.ADMIN)
    hanging.resume()
    monkeypatch.setattr(broker, "BROKER_SECONDS", 20.0)
    assert request_run("t", Trigger.SCHEDULE).run.state == State.QUEUED


@pytest.mark.usefixtures("impatient")
def test_away__saves_do_not_wait_each_and_are_no_runs(
    job: Any,
    broker_at: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker_at(f"redis://127.0.0.1:{free_port()}/0")
    caplog.set_level(logging.WARNING, "warmer.tasks")
    for _ in range(50):
        request_refresh(job.spec)
    assert WarmingRun.objects.count() == 1
    (record,) = [each for each in caplog.records if each.name.startswith("warmer.tasks")]
    assert "Could not send" in record.getMessage()


@pytest.mark.usefixtures("impatient")
def test_away__saves_are_quick(
    make_post: Any, broker_at: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    warm("r", name="r", depends_on=[Post], on_change="refresh")(lambda: 1)
    post = make_post()
    WarmingRun.objects.all().delete()
    broker_at(f"redis://127.0.0.1:{free_port()}/0")
    caplog.clear()
    for _ in range(20):
        jobs["r"].get()
        post.save()
        assert cache.get("r") is None
    assert WarmingRun.objects.filter(job="r").count() == 1
    assert sum("Could not send" in record.getMessage() for record in caplog.records) == 1
