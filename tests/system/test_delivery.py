"""What is asked for twice, or delivered twice, is done or counted once; every queue is consumed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from pytest_celery import CeleryTestSetup

from embedded.redis_server import RedisServer
from tests.system import site
from tests.system.nodes import Worker
from tests.system.project import Project, ended, reached
from tests.system.slowapp import gate
from users.warming import user_profiles
from warmer import runs
from warmer.models import Trigger, WarmingRun
from warmer.report import Report
from warmer.runs import batch_queue

HOUSEKEEPING = "warmer.close_stalled_runs"


def test_batch__delivered_twice_is_counted_once(project: Project, worker: Worker) -> None:
    ids = [user.pk for user in site.fill()]
    run = runs.open_run("user_profiles", Trigger.COMMAND).run
    started = runs.start(run.pk)
    assert started is not None
    key = user_profiles.spec.key
    assert list(batch_queue.write(started, [key.batch(ids[:60]), key.batch(ids[60:])])) == [2]
    runs.expect(started, batches=2, report=Report(job=run.job))

    twice = [project.send("warmer.warm_batch", run.pk, 1, 1, 1, queue="warming") for _delivery in range(2)]
    for message in twice:
        worker.await_log(f"Task warmer.warm_batch[{message}] succeeded")

    run.refresh_from_db()
    assert (run.state, run.batches_done, run.written) == ("running", 1, 60)

    project.send("warmer.warm_batch", run.pk, 1, 2, 2, queue="warming")
    ended(run)
    assert (run.state, run.batches_done, run.written) == ("complete", 2, 100)


def test_batch__waits_for_a_cache_that_is_away(
    project: Project, worker: Worker, redis_server: RedisServer
) -> None:
    ids = [user.pk for user in site.fill()]
    run = runs.open_run("user_profiles", Trigger.COMMAND).run
    started = runs.start(run.pk)
    assert started is not None
    assert list(batch_queue.write(started, [user_profiles.spec.key.batch(ids)])) == [1]
    runs.expect(started, batches=1, report=Report(job=run.job))
    redis_server.stop()

    message = project.send("warmer.warm_batch", run.pk, 1, 1, 1, queue="warming")
    worker.await_log(f"Task warmer.warm_batch[{message}] retry")
    redis_server.start()

    ended(run)
    assert (run.state, run.batches_done, run.written, run.failed) == ("complete", 1, 100, 0)


@pytest.mark.environment(EXTRA_APPS="tests.system.slowapp")
def test_start__delivered_twice_voids_what_the_first_one_counted(project: Project, worker: Worker) -> None:
    held = gate.BATCHES[1][0]
    gate.hold(held)
    run = project.request("slow_items")
    gate.await_loads(held)
    reached(run, lambda run: run.batches_done == 2, "has two batches done")

    gate.hold(*gate.IDS)
    project.send("warmer.start_run", run.pk, queue="warming")

    reached(run, lambda run: run.attempt == 2 and run.batches_total == 3, "has begun anew")
    assert (run.state, run.batches_done, run.written) == ("running", 0, 0)
    gate.release()
    ended(run)
    assert (run.state, run.attempt, run.batches_done, run.written) == ("complete", 2, 3, 12)


@pytest.mark.environment(EXTRA_APPS="tests.system.slowapp")
def test_request__while_a_run_is_under_way_joins_it(project: Project, worker: Worker) -> None:
    gate.hold(*gate.IDS)
    run = project.request("slow_items")
    gate.await_loads(gate.IDS[0])

    said = project.manage("warm_cache", "--no-wait", "slow_items")
    as_json = project.manage("warm_cache", "--no-wait", "--json", "slow_items")

    assert f"slow_items: joined run {run.pk} (command)" in said
    assert [job["run"] for job in json.loads(as_json)["jobs"]] == [run.pk]
    gate.release()
    ended(run)
    assert (run.state, run.written) == ("complete", 12)
    assert WarmingRun.objects.count() == 1
    assert [gate.loads(id) for id in gate.IDS] == [1] * 12


def test_plain_worker__consumes_every_queue_of_the_project(
    project: Project, worker: Worker, celery_setup: CeleryTestSetup
) -> None:
    assert not {"-Q", "--queues"} & set(worker.container.attrs["Config"]["Cmd"])
    expired = runs.open_run("posts", Trigger.SCHEDULE, expires_in=timedelta(seconds=-1)).run

    project.send(HOUSEKEEPING)  # to the queue of whatever names none
    project.manage("warm_cache", "--workers", "popular_posts")  # to the queue "warming"

    assert ended(expired).state == "expired"
    queues = celery_setup.app.control.inspect().active_queues()[worker.hostname()]
    assert {queue["name"] for queue in queues} == {"default", "warming"}
