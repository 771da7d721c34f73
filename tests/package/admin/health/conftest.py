"""Fixtures of the tests of the health strip: brokers."""

import socket
from collections.abc import Callable, Iterator

import pytest
from celery import current_app

from config import celery_app as project_app
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401
from tests.package.doctor.support import PASSWORD


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
