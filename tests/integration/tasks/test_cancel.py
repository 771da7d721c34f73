"""A cancelled run ends at its next batch."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from tests.integration.tasks.begun import begun
from warmer import runs
from warmer.models import State, Trigger
from warmer.runs.execution import execute
from warmer.tasks import request_run, start_run, warm_batch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_cancel__takes_effect_at_the_next_batch_on_workers(cancelled_job: Any) -> None:
    run = request_run("t", Trigger.ADMIN).run
    assert (run.state, run.written, run.batches_done, run.batches_total) == (State.CANCELLED, 8, 2, None)
    assert cache.get_many([f"t:{id}" for id in range(12)]) == {f"t:{id}": id for id in range(8)}


def test_cancel__batch_that_waits_is_dropped(job: Any) -> None:
    run = begun(job)
    runs.cancel(run, "ada")
    warm_batch(run.pk, run.attempt, 1)
    start_run(run.pk)
    assert cache.get("t:1") is None
    assert not run.batches.exists()


def test_cancel__takes_effect_at_the_next_batch_in_this_process(cancelled_job: Any) -> None:
    run = runs.open_run("t", Trigger.COMMAND).run
    execute(cancelled_job.spec, run)
    run.refresh_from_db()
    assert (run.state, run.error, run.written) == (State.CANCELLED, "Cancelled by ada.", 8)
    assert cache.get("t:8") is None
