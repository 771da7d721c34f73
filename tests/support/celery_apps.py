"""The project's Celery app on a broker of the test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

from config import celery_app as project_app


def new_app(broker: str, **conf: Any) -> Celery:
    """Make an app that sends to a broker, instead of executing in place, the current one."""
    app = Celery("config")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    addresses = dict.fromkeys(("broker_url", "broker_read_url", "broker_write_url"), broker)
    app.conf.update(addresses, task_always_eager=False, **conf)
    return app


@contextmanager
def app_on(broker: str) -> Iterator[Celery]:
    app = new_app(broker)
    try:
        yield app
    finally:
        app.close()
        project_app.set_current()
