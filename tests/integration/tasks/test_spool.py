"""What is kept of the batches of a run, and until when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.integration.tasks.begun import begun
from warmer import runs
from warmer.models import Trigger
from warmer.runs import batch_queue
from warmer.tasks import warm_batch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_spool__keeps_ids_with_their_types_and_lets_go_of_them(job: Any) -> None:
    ids = [1, "1a", UUID(int=7), 2**70]
    run = runs.start(runs.open_run("t", Trigger.COMMAND).run.pk)
    assert run is not None
    list(batch_queue.write_down(run, [job.spec.key.batch(ids)]))
    (batch,) = batch_queue.take(run.pk, run.attempt, batch_queue.Range(first=1))
    found = batch_queue.ids_of(batch)
    assert (found, [type(each) for each in found]) == (ids, [int, str, UUID, int])
    warm_batch(run.pk, run.attempt, 1)
    batch.refresh_from_db()
    assert batch.ids is None


def test_spool__of_an_ended_run_holds_only_the_first_of_what_was_done(job: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(batch_queue, "KEPT", 2)
    run = begun(job)
    for number in (1, 2, 3):
        warm_batch(run.pk, run.attempt, number)
    assert list(run.batches.values_list("number", flat=True).order_by("number")) == [1, 2]


def test_spool__of_a_lost_run_is_emptied(job: Any, settings: Any) -> None:
    run = begun(job)
    warm_batch(run.pk, run.attempt, 2)
    settings.WARMER_STALL_TIMEOUT = timedelta(0)
    runs.close_stalled()
    assert list(run.batches.values_list("number", flat=True)) == [2]
