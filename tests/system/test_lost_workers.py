"""A worker that goes away in the middle of a run: every run still ends, and its counts are true."""

import time
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from redis import Redis

from embedded.waiting import wait_until
from tests.system import site
from tests.system.nodes import Worker
from tests.system.project import Project, ended, reached
from tests.system.slowapp import gate
from warmer.models import WarmingRun

pytestmark = pytest.mark.environment(EXTRA_APPS="tests.system.slowapp")

VISIBILITY_SECONDS = 5
STALL_SECONDS = 1
HELD = 2  # the batch that is held, by number
HELD_ID = gate.BATCHES[HELD - 1][0]


@pytest.fixture
def run(project: Project, worker: Worker) -> WarmingRun:
    """A run of three batches: two are done, and a worker is in the middle of the other."""
    return held_run(project)


def held_run(project: Project, *, count: int = 1) -> WarmingRun:
    """Start such a run, in which the batch is loaded for the `count`th time."""
    gate.hold(HELD_ID)
    run = project.request("slow_items")
    gate.await_loads(HELD_ID, count=count)
    return reached(run, lambda run: run.batches_done == 2, "has two batches done")


@pytest.mark.environment(CELERY_VISIBILITY_TIMEOUT=VISIBILITY_SECONDS)
def test_killed_worker__its_batch_is_delivered_again(
    project: Project, worker: Worker, run: WarmingRun, redis_client: Redis
) -> None:
    worker.kill()
    gate.release()
    wait_until(
        lambda: project.in_hand()[0] < time.time() - VISIBILITY_SECONDS,
        what="the message of the killed worker may be delivered again",
    )

    worker.restart()

    ended(run)
    assert (run.state, run.attempt, run.batches_done, run.written) == ("complete", 1, 3, 12)
    assert [gate.loads(ids[0]) for ids in gate.BATCHES] == [1, 2, 1]
    assert len(site.lifetimes(redis_client, "slow:*")) == 12


@pytest.mark.environment(WARMER_STALL_TIMEOUT=STALL_SECONDS)
def test_killed_worker__without_a_new_delivery_the_run_is_lost(
    project: Project, worker: Worker, run: WarmingRun, redis_client: Redis
) -> None:
    worker.kill()
    gate.release()
    worker.restart()
    assert len(project.in_hand()) == 1  # the broker keeps it for the visibility timeout
    wait_until(lambda: timezone.now() - run.heartbeat_at > timedelta(seconds=STALL_SECONDS), what="the run has stalled")

    project.send("warmer.close_stalled_runs")  # as beat does every minute

    ended(run)
    assert (run.state, run.batches_done, run.written) == ("lost", 2, 8)
    assert run.error == "No progress for 1 s: its worker was killed, or its messages are gone."

    again = ended(project.request("slow_items"))
    assert again.pk != run.pk
    assert (again.state, again.written) == ("complete", 12)

    late = project.send("warmer.warm_batch", run.pk, run.attempt, HELD, HELD)
    worker.await_log(f"Task warmer.warm_batch[{late}] succeeded")
    assert gate.loads(HELD_ID) == 2  # in the lost run and in the next: the late message loads nothing
    run.refresh_from_db()
    assert (run.state, run.batches_done, run.written) == ("lost", 2, 8)


def test_killed_child__its_task_is_delivered_again_at_once(project: Project, worker: Worker) -> None:
    # In the task of a batch, and in the task that starts a run.
    for job, held, attempts, keys in (("slow_items", HELD_ID, 1, 12), ("slow_one", gate.ONE, 2, 1)):
        gate.hold(held)
        run = project.request(job)
        gate.await_loads(held)

        # As the kernel does when memory runs out: one process of the pool, not the worker.
        code, said = worker.container.exec_run(
            ["python", "-c", f"import os, signal; os.kill({gate.holder(held)}, signal.SIGKILL)"]
        )
        assert code == 0, said

        gate.await_loads(held, count=2)  # long before the visibility timeout
        gate.release()
        ended(run)
        assert (run.state, run.attempt, run.written) == ("complete", attempts, keys)


def test_shutdown__cold_hands_a_batch_back__warm_finishes_it(project: Project, worker: Worker, run: WarmingRun) -> None:
    worker.kill("SIGQUIT")
    worker.container.await_end()
    assert project.in_hand() == []

    gate.release()
    worker.restart()

    ended(run)
    assert (run.state, run.batches_done, run.written) == ("complete", 3, 12)
    assert cache.get(f"slow:{HELD_ID}") == {"id": HELD_ID}
    assert [gate.loads(ids[0]) for ids in gate.BATCHES] == [1, 2, 1]

    run = held_run(project, count=3)
    worker.kill("SIGTERM")
    worker.await_log("Warm shutdown")
    gate.release()

    ended(run)
    assert worker.container.await_end() == 0
    assert (run.state, run.batches_done, run.written) == ("complete", 3, 12)
    assert [gate.loads(ids[0]) for ids in gate.BATCHES] == [2, 3, 2]
    assert project.in_hand() == []
