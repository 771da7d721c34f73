"""What is kept of audits, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.auditing.things import counts
from warmer import jobs, warm
from warmer.models import CacheAudit, Trigger
from warmer.monitoring import audit
from warmer.monitoring.audit import keeping
from warmer.monitoring.audit.findings import WrongKey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_kept__is_what_was_found(job: Any, source: Any) -> None:
    job.warm()
    source[2] = "another"
    found = audit.perform(job.spec, Trigger.COMMAND, sample=10)
    row = CacheAudit.objects.get()
    assert (row.job, row.trigger, row.right, row.wrong) == ("things", "command", 9, 1)
    assert row.wrong_keys == [{"key": "thing:2", "fields": ["(dict, now str)"]}]
    assert row.started_at < row.finished_at
    again = audit.kept(row)
    assert again.wrong_keys == (WrongKey(key="thing:2", fields=("(dict, now str)",)),)
    assert (counts(again), again.share, again.whole) == (counts(found), found.share, found.whole)


def test_kept__oldest_are_forgotten(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEPT_PER_JOB", 3)
    other = warm("other", name="other")(lambda: 1)
    audit.perform(other.spec, Trigger.COMMAND)
    made = []
    for _ in range(5):
        audit.perform(job.spec, Trigger.COMMAND)
        made.append(CacheAudit.objects.latest("pk").pk)
    assert set(CacheAudit.objects.filter(job="things").values_list("pk", flat=True)) == set(made[2:])
    assert CacheAudit.objects.filter(job="other").count() == 1


def test_last_audits__are_found_in_one_query(job: Any, django_assert_num_queries: Any) -> None:
    for _ in range(2):
        audit.perform(job.spec, Trigger.COMMAND)
    job.warm()
    audit.perform(job.spec, Trigger.SCHEDULE)
    with django_assert_num_queries(1):
        last = audit.last_audits(jobs)
    assert {name: row.right for name, row in last.items()} == {"things": 10}
