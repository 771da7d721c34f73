"""The project's Celery app on a broker of the test."""

from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from config import celery_app as project_app


@contextmanager
def app_on(broker: str) -> Iterator[Celery]:
    """Make an app that sends to a broker, instead of executing in place, the current one."""
    app = Celery("config")
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(broker_url=broker, broker_read_url=broker, broker_write_url=broker, task_always_eager=False)
    try:
        yield app
    finally:
        app.close()
        project_app.set_current()
