"""`start_run`: it finds the ids, sends for the first batches, and may be delivered again."""

from functools import partial
from itertools import count
from typing import Any

import pytest
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import ResponseError

from tests.package.tasks.conftest import away, start, work_off
from warmer import runs, tasks, warm_many
from warmer.models import State, Trigger, WarmingRun
from warmer.tasks import close_stalled_runs, request_run, warm_batch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_start_run__has_no_more_messages_under_way_than_the_setting_says(messages: list[Any], settings: Any) -> None:
    settings.WARMER_BATCHES_OUT = 3
    settings.CELERY_TASK_ALWAYS_EAGER = False
    warm_many("m:{id}", ids=lambda: range(1_000), name="m", batch_size=10)(lambda ids: {id: id for id in ids})
    run = runs.open_run("m", Trigger.COMMAND).run
    start(run)
    assert messages == [(run.pk, 1, 1, 33), (run.pk, 1, 34, 66), (run.pk, 1, 67, 100)]
    run.refresh_from_db()
    assert (run.state, run.batches_total, run.batches.count()) == (State.RUNNING, 100, 100)
    assert work_off(run, messages) == 3
    assert (run.state, run.written) == (State.COMPLETE, 1_000)


def test_start_run__delivered_again_before_its_end_counts_anew(job: Any) -> None:
    run = runs.open_run("t", Trigger.COMMAND).run
    first = runs.start(run.pk)  # and its worker was killed
    assert first is not None
    runs.record_batches(first, {1: run.report})
    start(run)
    assert (run.state, run.attempt, run.written, run.batches_done) == (State.COMPLETE, 2, 10, 3)


@pytest.mark.parametrize("error", [ValueError("redis://user:secret@host/0 broke"), FileNotFoundError("ids.txt")])
def test_start_run__ids_that_fail_end_the_run(error: Exception) -> None:
    warm_many("i:{id}", ids=partial(away, error=error), name="i")(dict)
    run = request_run("i", Trigger.COMMAND).run
    assert run.state == State.FAILED
    assert run.error.startswith(f"The ids could not be found: {type(error).__name__}: ")
    assert "secret" not in run.error


def test_start_run__of_a_job_that_this_code_does_not_know() -> None:
    run = runs.open_run("gone", Trigger.COMMAND).run
    start(run)
    assert run.state == State.FAILED
    assert "There is no job 'gone'" in run.error


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_start_run__broker_away_continues_with_what_was_not_sent(
    job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    send, tries = warm_batch.apply_async, count()
    later = lambda args, **_: (send if next(tries) < sent else away)(args)  # noqa: E731
    monkeypatch.setattr(warm_batch, "apply_async", later)
    run = runs.open_run("t", Trigger.COMMAND).run
    start(run)
    assert (run.state, run.batches_done) == (State.RUNNING if sent else State.COMPLETE, 3 - sent)
    work_off(run, messages)
    assert (run.state, run.batches_done, run.written, run.attempt) == (State.COMPLETE, 3, 10, 1)


def test_start_run__broker_back_is_sent_each_lane_that_is_left(
    job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter([away, warm_batch.apply_async, warm_batch.apply_async])
    monkeypatch.setattr(warm_batch, "apply_async", lambda args, **options: next(tries)(args, **options))
    run = runs.open_run("t", Trigger.COMMAND).run
    start(run)
    assert (run.batches_done, messages) == (1, [(run.pk, 1, 2, 2), (run.pk, 1, 3, 3)])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (BrokerError("away"), "The broker does not answer: OperationalError: away"),
        (ResponseError("it is full"), "The broker rejects it: ResponseError: it is full"),
    ],
)
@pytest.mark.parametrize("required", [True, False])
def test_start_run__broker_away_for_long_fails_the_run_which_is_requested_again_if_required(
    messages: list[Any], monkeypatch: pytest.MonkeyPatch, error: Exception, why: str, required: bool
) -> None:
    warm_many("t:{id}", ids=lambda: range(10), name="t", batch_size=4, required=required)(
        lambda ids: dict.fromkeys(ids, 1)
    )
    with monkeypatch.context() as outage:
        outage.setattr(warm_batch, "apply_async", partial(away, error=error))
        outage.setattr(tasks.runs, "ALONE_SECONDS", 0.0)
        run = runs.open_run("t", Trigger.DEPLOY).run
        start(run)
    run.refresh_from_db()
    assert (run.state, run.error, run.batches_done) == (State.FAILED, why, 1)
    for _ in range(2):
        close_stalled_runs()
    assert WarmingRun.objects.count() == 1 + required
    if required:
        again = WarmingRun.objects.latest("id")
        assert (again.state, again.trigger, again.only_missing) == (State.COMPLETE, Trigger.DEPLOY, True)
