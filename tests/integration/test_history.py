"""The newest runs of many jobs."""

from __future__ import annotations

from typing import Any

import pytest

from warmer import runs
from warmer.models import Trigger
from warmer.runs import history

pytestmark = pytest.mark.django_db


def test_last_runs__newest_of_each_job_in_few_queries(django_assert_max_num_queries: Any) -> None:
    for job in ("a", "b", "a"):
        runs.fail(runs.open_run(job, Trigger.COMMAND).run, "x")
    newest = runs.open_run("a", Trigger.COMMAND).run
    with django_assert_max_num_queries(1):
        last = history.last_runs(["a", "b", "never"])
    assert {job: run.pk for job, run in last.items()} == {"a": newest.pk, "b": newest.pk - 2}
