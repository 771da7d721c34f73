"""What is asked for twice, or delivered twice, is done or counted once."""

import json

import pytest

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


def test_batch__delivered_twice_is_counted_once__another_waits_for_a_cache_that_is_away(
    project: Project, worker: Worker, redis_server: RedisServer
) -> None:
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

    redis_server.stop()
    message = project.send("warmer.warm_batch", run.pk, 1, 2, 2, queue="warming")
    worker.await_log(f"Task warmer.warm_batch[{message}] retry")
    redis_server.start()
    ended(run)
    assert (run.state, run.batches_done, run.written, run.failed) == ("complete", 2, 100, 0)


@pytest.mark.environment(EXTRA_APPS="tests.system.slowapp")
def test_run__another_request_joins_it__another_start_voids_what_the_first_one_counted(
    project: Project, worker: Worker
) -> None:
    held = gate.BATCHES[1][0]
    gate.hold(held)
    run = project.request("slow_items")
    gate.await_loads(held)
    reached(run, lambda run: run.batches_done == 2, "has two batches done")

    assert f"slow_items: joined run {run.pk} (command)" in project.manage("warm_cache", "--no-wait", "slow_items")
    as_json = project.manage("warm_cache", "--no-wait", "--json", "slow_items")
    assert [job["run"] for job in json.loads(as_json)["jobs"]] == [run.pk]
    assert WarmingRun.objects.count() == 1

    gate.hold(*gate.IDS)
    project.send("warmer.start_run", run.pk, queue="warming")
    reached(run, lambda run: run.attempt == 2 and run.batches_total == 3, "has begun anew")
    assert (run.state, run.batches_done, run.written) == ("running", 0, 0)
    gate.release()
    ended(run)
    assert (run.state, run.attempt, run.batches_done, run.written) == ("complete", 2, 3, 12)
