"""A run on workers: `start_run` finds the ids and sends batches, each of which counts once."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import chain, count, repeat
from typing import Any
from uuid import UUID

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.core.cache import cache
from django.utils import timezone
from redis.exceptions import ResponseError

from tests.package.tasks.conftest import AWAY, Messages, away, start, work, work_off
from warmer import jobs, runs, tasks, warm_many
from warmer.conf import conf
from warmer.models import State, Trigger, WarmingRun
from warmer.runs import batch_queue, lifecycle
from warmer.runs.execution import execute
from warmer.tasks import request_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


# -- start_run ----------------------------------------------------------------------------------------
def test_start_run__has_no_more_messages_under_way_than_the_setting_says(messages: Messages, settings: Any) -> None:
    settings.WARMER_BATCHES_OUT = 3
    settings.CELERY_TASK_ALWAYS_EAGER = False
    warm_many("m:{id}", ids=lambda: range(310), name="m", batch_size=10)(lambda ids: {id: id for id in ids})
    run = runs.open_run("m", Trigger.COMMAND).run
    start(run)
    assert messages == [(run.pk, 1, 1, 10), (run.pk, 1, 11, 20), (run.pk, 1, 21, 31)]
    run.refresh_from_db()
    assert (run.state, run.batches_total, run.batches.count()) == (State.RUNNING, 31, 31)
    assert work_off(run, messages) == 3
    assert (run.state, run.written) == (State.COMPLETE, 310)


def test_start_run__delivered_again_before_its_end_counts_anew(job: Any) -> None:
    run = runs.open_run("t", Trigger.COMMAND).run
    first = runs.start(run.pk)  # and its worker was killed
    assert first is not None
    runs.record_batches(first, {1: run.report})
    start(run)
    assert (run.state, run.attempt, run.written, run.batches_done) == (State.COMPLETE, 2, 10, 3)


def test_start_run__storing_many_batches_is_progress(
    job: Any, messages: Messages, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*given: Any) -> Iterator[int]:
        for number in store(*given):
            WarmingRun.objects.update(heartbeat_at=timezone.now() - 2 * conf.STALL_TIMEOUT)
            yield number
            assert runs.close_stalled() == 0

    store = batch_queue.write
    monkeypatch.setattr(batch_queue, "write", write)
    settings.CELERY_TASK_ALWAYS_EAGER = False
    run = runs.open_run("t", Trigger.COMMAND).run
    start(run)
    assert (run.state, len(messages)) == (State.RUNNING, 3)


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        (partial(away, error=ValueError("redis://user:secret@host/0 broke")), "ValueError: "),
        (partial(away, error=FileNotFoundError("ids.txt")), "FileNotFoundError: "),
        (lambda: None, "InvalidId: the function of ids= returned NoneType: expected a queryset"),
        (lambda: "42", "InvalidId: the function of ids= returned str: expected a queryset"),
    ],
)
def test_start_run__ids_that_fail_end_the_run(ids: Any, why: str) -> None:
    warm_many("i:{id}", ids=ids, name="i")(dict)
    run = request_run("i", Trigger.COMMAND).run
    assert run.state == State.FAILED
    assert run.error.startswith(f"The ids could not be found: {why}")
    assert "secret" not in run.error


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_start_run__broker_away_continues_with_what_was_not_sent(job: Any, messages: Messages, sent: int) -> None:
    messages.refusals = chain(repeat(None, sent), repeat(AWAY))
    run = runs.open_run("t", Trigger.COMMAND).run
    start(run)
    assert (run.state, run.batches_done) == (State.RUNNING if sent else State.COMPLETE, 3 - sent)
    work_off(run, messages)
    assert (run.state, run.batches_done, run.written, run.attempt) == (State.COMPLETE, 3, 10, 1)


# -- batches ------------------------------------------------------------------------------------------
Begin = Callable[..., WarmingRun]


@pytest.mark.parametrize(("seconds", "done", "sent"), [(60.0, 3, []), (0.0, 1, [(1, 2, 3)])])
def test_warm_batch__works_for_a_moment_and_sends_for_the_rest(
    job: Any, begin: Begin, messages: Messages, monkeypatch: pytest.MonkeyPatch, seconds: float, done: int, sent: Any
) -> None:
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", seconds)
    run = begin(job)
    work(run, 1, 3)
    assert (run.batches_done, messages) == (done, [(run.pk, *each) for each in sent])
    work_off(run, messages)
    assert (run.state, run.batches_done, run.written) == (State.COMPLETE, 3, 10)


@pytest.mark.parametrize("error", [AWAY, ResponseError("it is full")])
@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 2), (60.0, 1)])
def test_warm_batch__broker_away_continues(
    job: Any,
    begin: Begin,
    messages: Messages,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    seconds: float,
    expected: int,
) -> None:
    tries = count()
    messages.refusals = (error for _ in tries)
    monkeypatch.setattr(tasks.runs, "AGAIN_SECONDS", seconds)
    run = begin(job)
    work(run, 1, 3)
    assert next(tries) == expected  # after the first batch, and after the second where there is no time
    assert (run.state, run.batches_done) == (State.COMPLETE, 3)


@pytest.mark.parametrize("has_begun", [False, True])
def test_run__broker_back_is_sent_the_rest(job: Any, begin: Begin, messages: Messages, has_begun: bool) -> None:
    run = begin(job) if has_begun else runs.open_run("t", Trigger.COMMAND).run
    messages.refusals = iter([AWAY])
    work(run, 1, 3) if has_begun else start(run)
    assert (run.batches_done, messages) == (1 + has_begun, [(run.pk, 1, 2 + has_begun, 3)])


def test_warm_batch__that_was_killed_before_it_sent_for_the_rest_is_delivered_again(
    job: Any, begin: Begin, messages: Messages
) -> None:
    run = begin(job)
    messages.refusals = iter([SystemExit()])
    with pytest.raises(SystemExit):
        work(run, 1, 3)
    work(run, 1, 3)  # it was not acknowledged
    assert (run.batches_done, run.written, run.failed, messages) == (2, 8, 0, [(run.pk, 1, 3, 3)])


@pytest.mark.parametrize(
    ("module", "step", "error"),
    [(batch_queue, "mark_counted", SoftTimeLimitExceeded()), (lifecycle, "finish_if_done", SystemExit())],
    ids=["by a time limit while it records", "by a kill after it recorded the last batch"],
)
def test_warm_batch__that_was_interrupted_is_delivered_again_and_ends_the_run(
    job: Any, begin: Begin, monkeypatch: pytest.MonkeyPatch, module: Any, step: str, error: BaseException
) -> None:
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", 60.0)
    run = begin(job)
    with monkeypatch.context() as interrupted, pytest.raises(type(error)):
        interrupted.setattr(module, step, partial(away, error=error))
        work(run, 1, 3)
    work(run, 1, 3)
    assert (run.state, run.written, run.failed) == (State.COMPLETE, 10, 0)


def test_warm_batch__two_deliveries_of_a_lane_at_once(job: Any, begin: Begin, messages: Messages) -> None:
    """As when a slow worker still has a message that is delivered again."""
    run = begin(job)
    messages += [(run.pk, 1, 1, 3), (run.pk, 1, 1, 3)]
    work_off(run, messages)
    assert (run.state, run.batches_done, run.written) == (State.COMPLETE, 3, 10)


@pytest.mark.parametrize("has_begun", [False, True])
def test_run__of_a_job_that_this_code_does_not_know(job: Any, begin: Begin, has_begun: bool) -> None:
    """As when a deploy renames a job during its run."""
    run = begin(job) if has_begun else runs.open_run("t", Trigger.COMMAND).run
    jobs.unregister(job.name)
    work(run, 1, 3) if has_begun else start(run)
    assert run.state == State.FAILED
    assert "There is no job 't'" in run.error


def test_warm_batch__of_an_ended_run_loads_nothing(job: Any, begin: Begin) -> None:
    run = begin(job)
    runs.cancel(run, "ada")
    work(run, 1, 3)
    start(run)
    assert cache.get("t:1") is None
    assert not run.batches.exists()


def test_warm_batch__time_limit_fails_what_is_left() -> None:
    def loader(ids: Any) -> Any:
        raise SoftTimeLimitExceeded

    warm_many("s:{id}", ids=lambda: range(6), name="s")(loader)
    run = request_run("s", Trigger.COMMAND).run
    assert (run.state, run.failed) == (State.FAILED, 6)
    assert "SoftTimeLimitExceeded" in run.error
    assert "batch_size" in run.error


# -- cancelled in its second batch of three ------------------------------------------------------------
@pytest.mark.parametrize("seconds", [60.0, 0.0], ids=["in_one_task", "in_a_task_each"])
def test_cancel__takes_effect_at_the_next_batch_of_a_lane(
    cancelled_job: Any, begin: Begin, messages: Messages, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", seconds)
    run = begin(cancelled_job)
    messages.append((run.pk, run.attempt, 1, 3))
    work_off(run, messages)
    assert (run.state, run.batches_done, run.written) == (State.CANCELLED, 2, 8)
    assert cache.get_many([f"t:{id}" for id in range(12)]) == {f"t:{id}": id for id in range(8)}


def test_cancel__takes_effect_at_the_next_batch_in_one_process(cancelled_job: Any) -> None:
    run = runs.open_run("t", Trigger.COMMAND).run
    execute(cancelled_job.spec, run)
    run.refresh_from_db()
    assert (run.state, run.error, run.written) == (State.CANCELLED, "Cancelled by ada.", 8)
    assert cache.get("t:8") is None


# -- what is kept of them ------------------------------------------------------------------------------
def test_queue__keeps_ids_with_their_types_until_they_are_counted(job: Any) -> None:
    ids = [1, "1a", UUID(int=7), 2**70]
    run = runs.start(runs.open_run("t", Trigger.COMMAND).run.pk)
    assert run is not None
    list(batch_queue.write(run, [job.spec.key.batch(ids)]))
    (batch,) = batch_queue.take(run.pk, run.attempt, 1, 1, at_most=16)
    found = batch_queue.ids_of(batch)
    assert (found, [type(each) for each in found]) == (ids, [int, str, UUID, int])
    work(run, 1, 1)
    batch.refresh_from_db()
    assert batch.ids is None


def test_queue__of_an_ended_run_holds_only_the_first_that_were_done(
    job: Any, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_queue, "KEPT", 2)
    run = begin(job)
    work(run, 1, 3)
    assert list(run.batches.values_list("number", flat=True).order_by("number")) == [1, 2]


def test_queue__of_a_lost_run_is_emptied(job: Any, begin: Begin, settings: Any) -> None:
    run = begin(job)
    work(run, 2, 2)
    settings.WARMER_STALL_TIMEOUT = timedelta(0)
    runs.close_stalled()
    assert list(run.batches.values_list("number", flat=True)) == [2]
