"""Fixtures of the admin's tests: how long a page waits, an operator, brokers, and a run under way."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.test import Client
from django.utils import timezone

from config import celery_app as project_app
from tests.package.admin.pages import report
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401
from users.models import CustomUser
from warmer import runs
from warmer.admin import health, questions
from warmer.models import Trigger, WarmingRun


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for what answers, on a machine that may be busy."""
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 20.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages give up at once."""
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 0.01)


@pytest.fixture
def olga(operator: Client, settings: Any) -> Client:
    """The operator, with a session that needs no cache."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    operator.force_login(CustomUser.objects.get(username="olga"))
    return operator


@pytest.fixture
def with_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the pages as where workers execute the tasks."""
    monkeypatch.setattr(health.tasks, "has_broker", lambda: True)
    monkeypatch.setattr(health, "_look_at_broker", dict)
    monkeypatch.setattr(health, "_look_for_workers", lambda: {"warming": ["a@host"]})


@pytest.fixture
def use_broker(broker_at: Callable[[str], None]) -> Iterator[Callable[[str], None]]:  # noqa: F811
    """Return a function that makes Celery use a broker, in other threads too."""

    def use(url: str) -> None:
        broker_at(url)
        current_app.set_default()

    yield use
    project_app.set_default()


@pytest.fixture
def run(make_user: Any) -> WarmingRun:
    """A running run of the job 'posts', for 10 seconds, with 1 of 4 batches done."""
    user = make_user(username="ada")
    started = runs.start(runs.open_run("posts", Trigger.ADMIN, user=user).run.pk, worker="w0@host")
    assert started is not None
    WarmingRun.objects.filter(pk=started.pk).update(started_at=timezone.now() - timedelta(seconds=10))
    runs.expect(started, batches=4, report=report(queries=1, batches=0))
    runs.record_batches(started, {1: report(written=90, superseded=10, queries=2, seconds=7.5)}, worker="w1@host")
    return started
