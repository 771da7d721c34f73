"""Fixtures of the tests of the health strip: brokers."""

from collections.abc import Callable, Iterator

import pytest
from celery import current_app

from config import celery_app as project_app
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401


@pytest.fixture
def use_broker(broker_at: Callable[[str], None]) -> Iterator[Callable[[str], None]]:  # noqa: F811
    """Return a function that makes Celery use a broker, in other threads too."""

    def use(url: str) -> None:
        broker_at(url)
        current_app.set_default()

    yield use
    project_app.set_default()
