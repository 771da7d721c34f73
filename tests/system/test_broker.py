"""The broker goes away and comes back."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_celery import CeleryTestSetup
from redis import Redis

from embedded.waiting import wait_until
from tests.system import site
from tests.system.nodes import Worker
from tests.system.project import Project, reached
from tests.system.slowapp import gate
from warmer import tasks
from warmer.models import Trigger, WarmingRun

LOST = "Connection to broker lost"


def await_answer(worker: Worker) -> None:
    """Wait until the worker answers through the broker again; it must not have ended."""

    def answers() -> bool:
        worker.container.reload()
        assert worker.container.status == "running", "the worker has ended"
        return worker.hostname() in tasks.find_workers("warming").names

    wait_until(answers, what="the worker answers")


@pytest.mark.environment(EXTRA_APPS="tests.system.slowapp")
def test_broker__restarted_during_a_run_the_run_completes__away_a_request_says_so(
    project: Project, worker: Worker, celery_setup: CeleryTestSetup, redis_client: Redis
) -> None:
    gate.hold(*gate.IDS)
    with ThreadPoolExecutor() as threads:
        command = threads.submit(project.manage, "warm_cache", "--workers", "slow_items")
        wait_until(lambda: sum(map(gate.loads, gate.IDS)) == 8, what="two batches are in hand")
        run = reached(WarmingRun.objects.get(), lambda run: run.batches_total == 3, "has sent its batches")

        celery_setup.broker.kill()
        worker.await_log(LOST)
        celery_setup.broker.restart()
        gate.release()
        said = command.result()

    run.refresh_from_db()
    assert (run.state, run.batches_done, run.written) == ("complete", 3, 12), said
    assert len(site.lifetimes(redis_client, "slow:*")) == 12

    celery_setup.broker.kill()
    said = project.manage("warm_cache", "--workers", "popular_posts", status=1)
    run = tasks.request_run("popular_posts", Trigger.ADMIN).run
    assert "The broker does not answer" in said
    assert "Nothing was warmed" in said
    assert run.state == "failed"
    assert run.error.startswith("The broker does not answer: ")

    celery_setup.broker.restart()
    await_answer(worker)
    project.manage("warm_cache", "--workers", "popular_posts")
    assert list(WarmingRun.objects.values_list("state", flat=True)) == ["complete", "failed", "complete"]


@pytest.mark.environment(CELERY_BROKER_SOCKET_TIMEOUT=1)
def test_broker__idle_worker_keeps_its_connection_longer_than_the_time_out(project: Project, worker: Worker) -> None:
    """Kombu reads from its waiting connection only when something came: the time-out is not for the wait."""

    def ages() -> dict[str, int]:
        """By the connections that wait for a message: for how many seconds they are open."""
        with Redis.from_url(project.environment["CELERY_BROKER_URL"], decode_responses=True) as broker:
            waiting = [client for client in broker.client_list() if client["cmd"] == "brpop"]
        return {client["id"]: int(client["age"]) for client in waiting}

    wait_until(lambda: bool(ages()), what="the worker waits for a message")
    [(connection, age)] = ages().items()
    long_after = age + 3
    wait_until(
        lambda: ages().get(connection, 0) >= long_after,
        what="it has waited on one connection for three times the time-out",
    )
    assert LOST not in worker.logs()
    project.manage("warm_cache", "--workers", "popular_posts")
