"""Who answers for a queue."""

from __future__ import annotations

import pytest

from warmer.tasks import find_workers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.usefixtures("on_a_broker")
def test_find_workers__nobody_there() -> None:
    found = find_workers("warming", timeout=0.1)
    assert found.problem == "no worker answers"
    assert found.advice == "Start 'celery -A config worker -Q warming'."


def test_find_workers__tasks_in_process() -> None:
    assert "in process" in find_workers("warming").problem
