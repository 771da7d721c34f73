"""The shared fixtures; not in `tests/conftest.py`, which pytest may load before there are settings."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app

from tests.support.clusters import cluster  # noqa: F401
from tests.support.fixtures import *  # noqa: F403


@pytest.fixture
def celery_conf() -> Iterator[dict[str, Any]]:
    """The changed settings of the Celery app; changes end with the test."""
    changes = current_app.conf.changes
    before = dict(changes)
    yield changes
    changes.clear()
    changes.update(before)
