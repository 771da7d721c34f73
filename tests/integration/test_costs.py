"""What past runs of a job cost."""

from __future__ import annotations

import pytest

from warmer import runs
from warmer.models import Trigger
from warmer.report import Report
from warmer.runs.durations import past_cost

pytestmark = pytest.mark.django_db


def test_past_cost__of_complete_full_runs() -> None:
    run = runs.start(runs.open_run("things", Trigger.COMMAND).run.pk)
    assert run is not None
    assert past_cost("things") is None
    runs.record_batches(run, {1: Report(job="things", batches=1, written=10, queries=2)})
    runs.expect(run, batches=1, report=Report(job="things", queries=1))
    cost = past_cost("things")
    assert cost is not None
    assert cost.queries_per_batch == 2
    assert cost.seconds_per_key > 0
