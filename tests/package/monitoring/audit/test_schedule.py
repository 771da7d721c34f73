"""The scheduled audit: its entry in the schedule, and the task."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from embedded.redis_server import RedisServer
from tests.package.monitoring.audit.things import declare
from warmer import jobs, schedule, warm, warm_many
from warmer.models import CacheAudit
from warmer.tasks import audit_sample

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def entry() -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval").get(task="warmer.audit_sample")


def test_schedule__follows_the_settings(settings: Any) -> None:
    entries = PeriodicTask.objects.filter(task="warmer.audit_sample")
    schedule.sync()
    audit_sample()  # a message that was sent before
    assert (entries.exists(), CacheAudit.objects.exists()) == (False, False)
    settings.WARMER_AUDIT_SAMPLE = 50
    schedule.sync()
    task = entry()
    assert (task.interval.every, task.interval.period, task.expire_seconds) == (1, "hours", 3600)
    assert (task.enabled, task.queue, task.args) == (True, "warming", "[]")
    before = list(PeriodicTask.objects.order_by("id").values())
    assert set(schedule.sync()) == set(jobs)
    assert list(PeriodicTask.objects.order_by("id").values()) == before
    settings.WARMER_AUDIT_EVERY = timedelta(minutes=10)
    schedule.sync()
    task = entry()
    assert (task.interval.every, task.interval.period, task.expire_seconds) == (10, "minutes", 600)
    settings.WARMER_AUDIT_SAMPLE = 0
    schedule.sync()
    assert not entries.exists()


def test_schedule__operators_edit_stays(settings: Any) -> None:
    settings.WARMER_AUDIT_SAMPLE = 50
    schedule.sync()
    two = IntervalSchedule.objects.create(every=2, period="minutes")
    PeriodicTask.objects.filter(name=schedule.AUDIT).update(interval=two, expire_seconds=120, enabled=False)
    for every in (timedelta(hours=1), timedelta(hours=2), timedelta(minutes=5)):
        settings.WARMER_AUDIT_EVERY = every
        schedule.sync()
        task = entry()
        assert (task.interval, task.expire_seconds, task.enabled) == (two, 120, False)
    task.interval, task.crontab = None, CrontabSchedule.objects.create(minute="5")
    task.save()
    settings.WARMER_AUDIT_EVERY = timedelta(hours=2)
    schedule.sync()
    task = entry()
    assert (task.interval, task.crontab.minute) == (None, "5")


def test_task__audits_a_sample_of_every_job_and_keeps_the_result(
    job: Any, source: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 7
    job.warm()
    source.update(dict.fromkeys(range(10), "another"))
    audit_sample()
    rows = {row.job: row for row in CacheAudit.objects.all()}
    assert set(rows) == set(jobs)
    assert {row.trigger for row in rows.values()} == {"schedule"}
    assert (rows["things"].sampled, rows["things"].wrong, rows["things"].repaired) == (7, 7, 0)
    assert "things: of 7 sampled keys 7 are wrong and 0 failed: thing:" in caplog.text
    assert len(cache.get_many([f"thing:{number}" for number in range(10)])) == 10


def test_task__cache_down_is_a_line_in_the_log(
    source: Any, settings: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 7
    declare(source)
    redis_server.stop()
    audit_sample()
    assert "things was not audited: " in caplog.text
    assert not CacheAudit.objects.filter(job="things").exists()


def test_task__job_that_fails_does_not_stop_the_others(
    job: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 7

    def ids() -> list[int]:
        raise ValueError("no ids")

    warm_many("aaa:{id}", ids=ids, name="aaa")(dict)
    warm("zzz", name="zzz")(lambda: 1)
    audit_sample()
    assert {row.job for row in CacheAudit.objects.all()} == set(jobs)
    assert "aaa: of 0 sampled keys 0 are wrong and 0 failed: The ids could not be found" in caplog.text
