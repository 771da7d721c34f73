"""A cache, a database or a broker that does not answer: tasks wait for it, and the relay goes on."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from celery.exceptions import Retry, SoftTimeLimitExceeded
from django.db import InternalError, OperationalError
from django.utils import timezone

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.package.tasks.conftest import away, received, start, work
from tests.support.others import holds_in_a_fork, worker
from warmer import runs, warm_many
from warmer.conf import conf
from warmer.exceptions import StoreUnavailable
from warmer.models import State, Trigger, WarmingRun
from warmer.runs import batch_queue
from warmer.tasks import close_stalled_runs, relaying, request_run, warm_batch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
Begin = Callable[..., WarmingRun]


def declare(**options: Any) -> Any:
    return warm_many("t:{id}", **{"ids": lambda: range(10), "name": "t"} | options)(lambda ids: dict.fromkeys(ids, 1))


def fail_in_an_outage(redis_server: RedisServer) -> None:
    redis_server.stop()
    run = request_run("t", Trigger.DEPLOY).run
    assert (run.state, run.met_outage) == (State.FAILED, True)


def make_old(**times: Any) -> None:
    """Let half of the stall time-out pass since a run's last progress."""
    WarmingRun.objects.update(heartbeat_at=timezone.now() - conf.STALL_TIMEOUT / 2)
    WarmingRun.objects.update(**times)


def test_warm_batch__cache_away_is_tried_again_and_counts_once(
    job: Any, begin: Begin, messages: list[Any], redis_server: RedisServer
) -> None:
    run = begin(job)
    redis_server.stop()
    with pytest.raises(StoreUnavailable):  # where a worker called it: its message is sent again
        work(run, 1, 1)
    run.refresh_from_db()
    assert (run.batches_done, run.failed, run.state) == (0, 0, State.RUNNING)
    redis_server.start()
    for number in (1, 2, 3):
        work(run, number, number)
    assert (run.state, run.written, run.failed) == (State.COMPLETE, 10, 0)


@pytest.mark.parametrize(
    "error", [StoreUnavailable("away"), OperationalError("away"), InternalError("read-only"), SoftTimeLimitExceeded()]
)
@pytest.mark.parametrize(("tries", "seconds"), [(0, 1), (3, 8), (20, 30)])
def test_warm_batch__is_sent_again_until_its_message_expires(
    monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int, seconds: int
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(batch_queue, "take", partial(away, error=error))
    monkeypatch.setattr(warm_batch, "apply_async", lambda *_args, **options: sent.append(options))
    expires = timezone.now() + timedelta(hours=1)
    request = {"args": (1, 1, 1, 1), "retries": tries, "expires": expires, "called_directly": False}
    with received(warm_batch, **request), pytest.raises(Retry):
        warm_batch.run(1, 1, 1, 1)
    (again,) = sent
    assert (again["countdown"], again["expires"], again["retries"]) == (seconds, expires, tries + 1)


def test_warm_batch__cache_away_for_half_of_the_stall_timeout_fails_the_keys(
    job: Any, begin: Begin, redis_server: RedisServer
) -> None:
    run = begin(job)
    redis_server.stop()
    for number in (1, 2, 3):
        make_old()
        work(run, number, number)
    assert (run.state, run.failed, run.met_outage) == (State.FAILED, 10, True)
    redis_server.start()


def test_warm_batch__progress_that_cannot_be_recorded_for_half_of_the_stall_timeout_fails_the_run(
    job: Any, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(job)
    refused = OperationalError("canceling statement due to lock timeout")
    monkeypatch.setattr(batch_queue, "mark_counted", partial(away, error=refused))
    with pytest.raises(OperationalError):  # where a worker called it: its message is sent again
        work(run, 1, 3)
    make_old()
    work(run, 1, 3)
    assert (run.state, "lock timeout" in run.error) == (State.FAILED, True)


@pytest.mark.parametrize("on_change", ["invalidate", "refresh"])
@pytest.mark.parametrize("required", [True, False])
def test_run_that_met_an_outage__is_run_again_if_required_once_the_cache_answers(
    required: bool, on_change: Any, redis_server: RedisServer
) -> None:
    declare(required=required, on_change=on_change)
    fail_in_an_outage(redis_server)
    close_stalled_runs()
    assert WarmingRun.objects.count() == 1  # not yet
    redis_server.start()
    for _ in range(2):
        close_stalled_runs()
    assert WarmingRun.objects.count() == 1 + required
    again = WarmingRun.objects.latest("id")
    assert not required or (again.state, again.trigger, again.written) == (State.COMPLETE, Trigger.DEPLOY, 10)


@pytest.mark.parametrize(
    ("meanwhile", "written"),
    [
        (lambda: request_run("t", Trigger.ADMIN, only_keys=["t:1"]), 9),
        (lambda: runs.fail(runs.open_run("t", Trigger.CHANGE).run, "The broker does not answer"), 10),
    ],
    ids=["a retry of some keys", "a run that never started"],
)
def test_run_that_met_an_outage__is_run_again_after_one_that_did_not_warm_all(
    redis_server: RedisServer, meanwhile: Callable[[], object], written: int
) -> None:
    declare()
    fail_in_an_outage(redis_server)
    redis_server.start()
    meanwhile()
    close_stalled_runs()
    again = WarmingRun.objects.latest("id")
    assert (again.state, again.trigger) == (State.COMPLETE, Trigger.DEPLOY)
    assert (again.written, again.skipped) == (written, 10 - written)


def test_run_of_one_batch__cache_away_for_half_of_the_stall_timeout_fails_the_keys(redis_server: RedisServer) -> None:
    run = runs.open_run(declare().name, Trigger.COMMAND).run
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        start(run)
    now = timezone.now()
    make_old(started_at=now - conf.STALL_TIMEOUT / 2, heartbeat_at=now - timedelta(seconds=30))
    start(run)
    assert (run.state, run.failed, run.met_outage) == (State.FAILED, 10, True)
    redis_server.start()


def test_run_that_met_an_outage__is_not_run_again_where_the_server_refuses(redis_server: RedisServer) -> None:
    declare()
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
        failed = request_run("t", Trigger.DEPLOY).run
        assert failed.met_outage
        close_stalled_runs()
        assert WarmingRun.objects.count() == 1
        client.execute_command("ACL", "SETUSER", "default", "+eval", "+evalsha")
    close_stalled_runs()
    assert WarmingRun.objects.latest("id").state == State.COMPLETE


def test_run_that_met_an_outage__is_not_run_again_after_it_was_cancelled(
    begin: Begin, redis_server: RedisServer
) -> None:
    run = begin(declare(batch_size=4))
    make_old()
    redis_server.stop()
    work(run, 1, 1)
    redis_server.start()
    runs.cancel(run, "ada")
    run.refresh_from_db()
    assert run.met_outage
    close_stalled_runs()
    assert WarmingRun.objects.count() == 1


def test_start_run__database_away_for_half_of_the_stall_timeout_fails_the_run() -> None:
    slow = OperationalError("canceling statement due to statement timeout")
    run = runs.open_run(declare(ids=partial(away, error=slow)).name, Trigger.COMMAND).run
    with pytest.raises(OperationalError):  # where a worker called it: its message is sent again
        start(run)
    make_old(started_at=timezone.now() - conf.STALL_TIMEOUT / 2)
    start(run)
    assert (run.state, run.attempt) == (State.FAILED, 2)
    assert "statement timeout" in run.error


# -- the relay's thread in a worker's main process, which forks ------------------------------------------
def test_fork__shares_no_connection_of_the_relay() -> None:
    with worker():
        wait_until(lambda: relaying._open and relaying._open[0].connection, seconds=20, what="it has polled")
        assert holds_in_a_fork(lambda: all(each.connection is None for each in relaying._open))
        wait_until(lambda: relaying._open[0].connection, seconds=20, what="it polls again")
