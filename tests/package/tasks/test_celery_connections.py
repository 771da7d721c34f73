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


def begin_task(*, eager: bool = False) -> None:
    task: Any = SimpleNamespace(request=SimpleNamespace(is_eager=eager))
    close_unusable_connections(task=task)


def test_worker__keeps_its_connection_over_tasks() -> None:
    assert celery_app.conf.get("CELERY_DB_REUSE_MAX") > 1_000
    assert any(receiver() is close_unusable_connections for _, receiver in task_prerun.receivers)
    connection.ensure_connection()
    before = connection.connection
    begin_task()
    assert connection.connection is before


def test_worker__closes_a_connection_that_is_too_old() -> None:
    connection.ensure_connection()
    connection.close_at = time.monotonic() - 1
    begin_task()
    assert connection.connection is None


def test_task_in_process__leaves_its_callers_connection_alone() -> None:
    connection.ensure_connection()
    before, connection.close_at = connection.connection, time.monotonic() - 1
    begin_task(eager=True)
    assert connection.connection is before
    connection.close_at = None
