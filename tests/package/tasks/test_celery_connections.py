"""Celery tasks share a database connection, and close one that is too old, as Django does at a request."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery.signals import task_prerun
from django.db import connection

from config import celery_app
from config.celery import close_unusable_connections

pytestmark = pytest.mark.django_db(transaction=True)


def test_worker__keeps_its_connection_over_tasks() -> None:
    assert celery_app.conf.get("CELERY_DB_REUSE_MAX") > 1_000
    assert any(receiver() is close_unusable_connections for _, receiver in task_prerun.receivers)


@pytest.mark.parametrize(
    ("is_too_old", "is_in_process", "is_closed"), [(False, False, False), (True, False, True), (True, True, False)]
)
def test_task__closes_a_connection_that_is_too_old_unless_it_is_its_callers(
    is_too_old: bool, is_in_process: bool, is_closed: bool
) -> None:
    connection.ensure_connection()
    before = connection.connection
    connection.close_at = time.monotonic() - 1 if is_too_old else None
    task: Any = SimpleNamespace(request=SimpleNamespace(is_eager=is_in_process))
    close_unusable_connections(task=task)
    assert connection.connection is (None if is_closed else before)
    connection.close_at = None
