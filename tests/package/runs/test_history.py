"""Runs that have ended: how long they are kept, and the latest of each job."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from warmer import runs as ledger
from warmer.models import CacheAudit, State, Trigger, WarmingBatch, WarmingRun
from warmer.tasks import forget_runs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def old_runs() -> list[int]:
    """Seven runs of 'things' that ended 40 days ago, with a batch each; return their numbers."""
    then = timezone.now() - timedelta(days=40)
    fields = {"job": "things", "trigger": Trigger.SCHEDULE, "state": State.COMPLETE}
    runs = [WarmingRun.objects.create(**fields, requested_at=then, finished_at=then, expires_at=then) for _ in range(7)]
    WarmingBatch.objects.bulk_create(WarmingBatch(run=run, number=1) for run in runs)
    return [run.pk for run in runs]


def test_forget__deletes_what_ended_before_then(old_runs: list[int]) -> None:
    WarmingRun.objects.filter(pk=old_runs[0]).update(state=State.RUNNING, finished_at=None)
    WarmingRun.objects.filter(pk=old_runs[1]).update(finished_at=timezone.now())
    assert WarmingRun.objects.forget(before=timezone.now() - timedelta(days=30), newest_of=()) == 5
    assert set(WarmingRun.objects.values_list("pk", flat=True)) == set(old_runs[:2])
    assert WarmingBatch.objects.count() == 2


def test_forget_runs__keeps_for_the_retention_and_the_newest_of_each_job(own_jobs: None, settings: Any) -> None:
    settings.WARMER_RUN_RETENTION = timedelta(days=2)
    for job, days in (("posts", 3), ("posts", 1), ("popular_posts", 4), ("gone", 4)):
        run = ledger.open_run(job, Trigger.COMMAND).run
        ledger.fail(run, "broken")
        then = timezone.now() - timedelta(days=days)
        WarmingRun.objects.filter(pk=run.pk).update(requested_at=then, finished_at=then)
    audits = [CacheAudit.objects.create(job="posts", trigger="admin", started_at=then, finished_at=then) for _ in "ab"]
    assert forget_runs() == 2
    assert CacheAudit.objects.get() == audits[-1]
    assert set(WarmingRun.objects.values_list("job", flat=True)) == {"posts", "popular_posts"}


def test_latest_per_job__in_one_query(django_assert_num_queries: Any) -> None:
    for job in ("a", "b", "a"):
        ledger.fail(ledger.open_run(job, Trigger.COMMAND).run, "x")
    newest = ledger.open_run("a", Trigger.COMMAND).run
    with django_assert_num_queries(1):
        latest = WarmingRun.objects.latest_per_job(["a", "b", "never"])
    assert {job: run.pk for job, run in latest.items()} == {"a": newest.pk, "b": newest.pk - 2}
