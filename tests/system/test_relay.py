"""A worker's relay: what another program changes reaches the cache, also while the worker forks."""

import pytest
from django.core.cache import cache

from embedded.waiting import wait_until
from tests.package.invalidation.capture import outsiders
from tests.support.processes import SECONDS
from tests.system.nodes import Worker, WorkerContainer
from tests.system.project import Project
from users.models import CustomUser
from warmer.models import ChangeRecord


@pytest.fixture
def default_worker_command() -> list[str]:
    return WorkerContainer.command("-n", "first@system-tests", "--pool", "prefork", "--max-tasks-per-child=1")


def test_worker__applies_what_another_program_changes_and_ends_cleanly(project: Project, worker: Worker) -> None:
    user = CustomUser.objects.create(username="anna", email="old@example.org")
    key = f"user:{user.pk}:profile"
    before = processes(project, worker)

    for number in range(3):
        cache.set(key, "old")
        for _ in before:
            project.send("warmer.close_stalled_runs")  # a task for each: Celery may take 5 s to fork again
        outsiders.run(f"UPDATE users_customuser SET email = 'new{number}@example.org'")
        wait_until(lambda: cache.get(key) is None, what=f"change {number} is applied")
    wait_until(lambda: before.isdisjoint(processes(project, worker)), what="the worker has forked new processes")
    cache.set(key, "old")
    outsiders.run("UPDATE users_customuser SET email = 'last@example.org'")
    wait_until(lambda: cache.get(key) is None, what="the last change is applied")

    waiting = ChangeRecord.objects.filter(applied_at=None)
    wait_until(lambda: not waiting.exists(), what="the records are marked")
    worker.kill("SIGTERM")
    assert worker.container.await_end() == 0
    assert "Changes wait" not in worker.logs()
    assert "Traceback" not in worker.logs()


def processes(project: Project, worker: Worker) -> set[int]:
    name = worker.hostname()
    return set(project.app.control.inspect([name], timeout=SECONDS).stats()[name]["pool"]["processes"])
