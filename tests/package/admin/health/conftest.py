"""Fixtures of the tests of the health strip: an operator, a broker, and how long a page waits."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from django.test import Client

from config import celery_app as project_app
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401
from tests.package.doctor.support import PASSWORD
from users.models import CustomUser


@pytest.fixture
def olga(operator: Client, settings: Any) -> Client:
    """The operator, with a session that needs no cache."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    operator.force_login(CustomUser.objects.get(username="olga"))
    return operator


@pytest.fixture
def use_broker(broker_at: Callable[[str], None]) -> Iterator[Callable[[str], None]]:  # noqa: F811
    """Return a function that makes Celery use a broker, in other threads too."""

    def use(url: str) -> None:
        broker_at(url)
        current_app.set_default()

    yield use
    project_app.set_default()


@pytest.fixture
def silent_address() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://:{PASSWORD}@127.0.0.1:{listener.getsockname()[1]}/0"
