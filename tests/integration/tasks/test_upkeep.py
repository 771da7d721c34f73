"""The tasks that keep the ledger small."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from warmer import runs
from warmer.models import Trigger, WarmingRun
from warmer.tasks import forget_runs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_forget_runs__keeps_for_the_retention_and_the_newest_of_each_job(settings: Any) -> None:
    settings.WARMER_RUN_RETENTION = timedelta(days=2)
    for job, days in (("posts", 3), ("posts", 1), ("popular_posts", 4), ("gone", 4)):
        run = runs.open_run(job, Trigger.COMMAND).run
        runs.fail(run, "broken")
        then = timezone.now() - timedelta(days=days)
        WarmingRun.objects.filter(pk=run.pk).update(requested_at=then, finished_at=then)
    assert forget_runs() == 2
    assert set(WarmingRun.objects.values_list("job", flat=True)) == {"posts", "popular_posts"}
