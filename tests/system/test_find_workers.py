"""What workers answer when they are asked which queues they consume."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.system.nodes import Worker
from tests.system.project import Project
from warmer.tasks import find_workers


@pytest.mark.parametrize("one_will_do", [False, True])
def test_find_workers__says_who_consumes_the_queue(
    project: Project, worker: Worker, one_will_do: bool
) -> None:
    assert find_workers("warming", one_will_do=one_will_do).names == (worker.hostname(),)
    found = find_workers("nobody", one_will_do=one_will_do)
    assert (found.names, found.problem) == ((), "no worker consumes the queue 'nobody'")
    with Redis.from_url(project.environment["CELERY_BROKER_URL"], decode_responses=True) as broker:
        assert [key for key in broker.scan_iter() if "reply" in key] == []
