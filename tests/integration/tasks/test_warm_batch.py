"""`warm_batch`: each batch is counted once, and the next ones are sent for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from tests.integration.tasks.begun import begun
from warmer import runs, tasks, warm_many
from warmer.models import State, Trigger
from warmer.report import Report
from warmer.runs import batch_queue
from warmer.tasks import request_run, warm_batch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_warm_batch__delivered_twice_counts_once(job: Any) -> None:
    run = begun(job)
    warm_batch(run.pk, run.attempt, 1)
    warm_batch(run.pk, run.attempt, 1)
    run.refresh_from_db()
    assert (run.written, run.batches_done, run.state) == (4, 1, State.RUNNING)


def test_warm_batch__sends_for_the_next_one_until_all_are_sent(job: Any, messages: list[Any]) -> None:
    run = begun(job, sent=1)
    assert run.batches_total == 3
    for number in (1, 2, 3):
        warm_batch(run.pk, run.attempt, number)
    assert messages == [(run.pk, 1, 2, 1), (run.pk, 1, 3, 1)]
    run.refresh_from_db()
    assert (run.state, run.batches_done, run.written) == (State.COMPLETE, 3, 10)


def test_warm_batch__that_is_quick_does_the_next_ones_itself(
    job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", 60.0)
    run = begun(job, sent=1)
    warm_batch(run.pk, run.attempt, 1)
    run.refresh_from_db()
    assert (messages, run.state, run.batches_done, run.written) == ([], State.COMPLETE, 3, 10)


def test_warm_batch__cancelled_meanwhile_does_not_go_on(
    cancelled_job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", 60.0)
    run = begun(cancelled_job, sent=1)
    warm_batch(run.pk, run.attempt, 1)
    run.refresh_from_db()
    assert (messages, run.state, run.batches_done, run.written) == ([], State.CANCELLED, 2, 8)


def test_warm_batch__of_a_worker_killed_before_it_sent_for_the_next_sends_it_again(
    job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(job, sent=1)
    with monkeypatch.context() as killed:
        killed.setattr(warm_batch, "apply_async", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            warm_batch(run.pk, run.attempt, 1)
    warm_batch(run.pk, run.attempt, 1)  # it was not acknowledged, so it is delivered again
    run.refresh_from_db()
    assert (run.batches_done, run.batches_sent, messages) == (1, 2, [(run.pk, 1, 2, 1)])


def test_warm_batch__some_counted_by_a_worker_killed_before_it_sent_does_the_others_and_sends_again(
    messages: list[Any],
) -> None:
    run = begun(warm_many("k:{id}", ids=lambda: range(40), name="k", batch_size=4)(dict.fromkeys), sent=3)
    # Two deliveries of one message for three batches; one counted the first of them, and was killed.
    noted = runs.record_batches(run, {1: Report(job="k", written=4, batches=1)}, at_most=2).then
    assert noted == batch_queue.Range(first=4, count=2)
    warm_batch(run.pk, run.attempt, 1, 3)
    assert messages[0] == (run.pk, 1, 4, 2)
    while messages:
        warm_batch(*messages.pop())  # type: ignore[misc]
    run.refresh_from_db()
    assert (run.state, run.batches_done) == (State.COMPLETE, 10)


def test_warm_batch__of_several_that_are_slower_than_expected_counts_some_and_goes_on_with_the_rest(
    messages: list[Any],
) -> None:
    run = begun(warm_many("s:{id}", ids=lambda: range(40), name="s", batch_size=4)(dict.fromkeys), sent=8)
    warm_batch(run.pk, run.attempt, 1, 8)  # there is no time at all, see `messages`
    run.refresh_from_db()
    assert (run.batches_done, run.batches_sent, messages) == (1, 8, [(run.pk, 1, 2, 7)])
    while messages:
        warm_batch(*messages.pop())  # type: ignore[misc]
    run.refresh_from_db()
    assert (run.state, run.batches_done, run.batches_sent) == (State.COMPLETE, 10, 10)


def test_batches__that_follow_are_noted_with_the_first_and_given_out_once(job: Any) -> None:
    run = begun(warm_many("n:{id}", ids=lambda: range(40), name="n", batch_size=4)(dict), sent=1)
    report = Report(job="n", written=4, batches=1)
    first = runs.record_batches(run, {1: report}, at_most=5)
    assert (first.counted, first.then) == (1, batch_queue.Range(first=2, count=5))
    (row,) = batch_queue.take(run.pk, run.attempt, batch_queue.Range(first=1))
    assert batch_queue.successors_of([row]) == [first.then]
    numbers = range(2, 7)
    second = runs.record_batches(run, dict.fromkeys(numbers, report), at_most=16)
    assert (second.counted, second.then) == (5, batch_queue.Range(first=7, count=4)), (
        "there are no more than ten"
    )
    assert runs.record_batches(run, dict.fromkeys(numbers, report)).counted == 0
    # One of them was counted before: by a second delivery, while the first was under way.
    assert runs.record_batches(run, dict.fromkeys((6, 7, 8), report)).counted == 2
    run.refresh_from_db()
    assert (run.batches_done, run.batches_sent, run.written) == (8, 10, 32)
    assert run.batches.filter(recorded_at=None).count() == 2


def test_warm_batch__of_an_ended_run_loads_nothing() -> None:
    loaded: list[Any] = []

    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        loaded.extend(ids)
        return {}

    run = begun(warm_many("e:{id}", ids=lambda: [1, 2], name="e")(loader))
    runs.fail(run, "over")
    warm_batch(run.pk, run.attempt, 1)
    assert loaded == []


def test_warm_batch__time_limit_fails_what_is_left() -> None:
    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        raise SoftTimeLimitExceeded

    warm_many("s:{id}", ids=lambda: range(6), name="s")(loader)
    run = request_run("s", Trigger.COMMAND).run
    assert (run.state, run.failed) == (State.FAILED, 6)
    assert "SoftTimeLimitExceeded" in run.error
