"""Fixtures of the doctor's tests: servers in any state, and a look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from celery import Celery

from config import celery_app as project_app
from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import Look, Serve
from warmer import tasks
from warmer.tasks import Broker


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a server with options: `serve(maxmemory="1mb")`."""
    with ExitStack() as stack:

        def serve(**options: str) -> RedisServer:
            given = {name.replace("_", "-"): value for name, value in options.items()}
            return stack.enter_context(RedisServer(options=given))

        yield serve


@pytest.fixture
def look(settings: Any) -> Look:
    """Make a check of a cache: `look(Maxmemory(), server)`."""
    return Look(settings)


@pytest.fixture
def broker_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Broker]]:
    """Return a function that has Celery use a broker, and looks at it."""
    apps = []

    def look_at(url: str, **conf: Any) -> Broker:
        monkeypatch.setenv("CELERY_BROKER_URL", url)  # Celery prefers it to every setting
        app = Celery("config")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.conf.update(broker_url=url, task_always_eager=False, **conf)
        apps.append(app)
        return tasks.look_at_broker()

    yield look_at
    for app in apps:
        app.close()
    project_app.set_current()
