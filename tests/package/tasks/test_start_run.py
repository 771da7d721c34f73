"""`start_run`: it finds the ids, sends for the first batches, and may be delivered again."""

from typing import Any

import pytest

from warmer import runs, warm_many
from warmer.models import State, Trigger
from warmer.tasks import request_run, start_run, warm_batch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_start_run__has_no_more_messages_under_way_than_the_setting_says(messages: list[Any], settings: Any) -> None:
    settings.WARMER_BATCHES_OUT = 3
    settings.CELERY_TASK_ALWAYS_EAGER = False
    warm_many("m:{id}", ids=lambda: range(1_000), name="m", batch_size=10)(lambda ids: {id: id for id in ids})
    run = runs.open_run("m", Trigger.COMMAND).run
    start_run(run.pk)
    assert messages == [(run.pk, 1, 1, 33), (run.pk, 1, 34, 66), (run.pk, 1, 67, 100)]
    run.refresh_from_db()
    assert (run.state, run.batches_total, run.batches.count()) == (State.RUNNING, 100, 100)
    most = 0
    while messages:
        most = max(most, len(messages))
        warm_batch(*messages.pop())
    run.refresh_from_db()
    assert (most, run.state, run.written) == (3, State.COMPLETE, 1_000)


def test_start_run__delivered_again_before_its_end_counts_anew(job: Any) -> None:
    run = runs.open_run("t", Trigger.COMMAND).run
    first = runs.start(run.pk)  # and its worker was killed
    assert first is not None
    runs.record_batches(first, {1: run.report})
    start_run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.attempt, run.written, run.batches_done) == (State.COMPLETE, 2, 10, 3)


def test_start_run__ids_that_fail_end_the_run() -> None:
    def ids() -> list[int]:
        raise ValueError("redis://user:secret@host/0 broke")

    warm_many("i:{id}", ids=ids, name="i")(dict)
    run = request_run("i", Trigger.COMMAND).run
    assert run.state == State.FAILED
    assert "The ids could not be found: ValueError" in run.error
    assert "secret" not in run.error


def test_start_run__of_a_job_that_this_code_does_not_know() -> None:
    run = runs.open_run("gone", Trigger.COMMAND).run
    start_run(run.pk)
    run.refresh_from_db()
    assert run.state == State.FAILED
    assert "There is no job 'gone'" in run.error
