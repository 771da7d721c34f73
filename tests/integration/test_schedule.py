"""The schedule in beat: made from code, and an operator's changes left alone."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from warmer import jobs, schedule, warm
from warmer.schedule import Action

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs")]


def entry(job: str) -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval").get(name=f"warm {job}")


def actions() -> dict[str, Action]:
    return {synced.job: synced.action for synced in schedule.sync()}


@pytest.fixture
def declare() -> Callable[..., None]:
    """Return a function that declares the job 'timed', or declares it anew."""

    def declare(**options: Any) -> None:
        if "timed" in jobs:
            jobs.unregister("timed")
        warm("timed", name="timed", **options)(lambda: 1)

    return declare


def test_migrate__made_one_entry_a_job() -> None:
    for name in ("user_profiles", "popular_posts", "posts"):
        task = entry(name)
        assert (task.task, json.loads(task.args)) == ("warmer.scheduled_run", [name])
        assert (task.interval.every, task.interval.period) == (15, "minutes")
        assert (task.enabled, task.queue, task.expire_seconds) == (True, "warming", 900)


def test_sync__again_changes_nothing() -> None:
    actions()
    before = list(PeriodicTask.objects.order_by("id").values())
    assert set(actions().values()) == {Action.KEPT}
    assert list(PeriodicTask.objects.order_by("id").values()) == before


def test_sync__new_job_is_created(declare: Any) -> None:
    declare(every=timedelta(seconds=90), timeout=timedelta(minutes=5))
    assert actions()["timed"] is Action.CREATED
    assert (entry("timed").interval.every, entry("timed").interval.period) == (90, "seconds")


def test_sync__job_that_is_gone_is_removed(declare: Any) -> None:
    declare()
    schedule.sync()
    jobs.unregister("timed")
    assert actions()["timed"] is Action.REMOVED
    assert not PeriodicTask.objects.filter(name="warm timed").exists()


def test_sync__job_that_is_no_longer_scheduled_is_removed(declare: Any) -> None:
    declare()
    schedule.sync()
    declare(every=None)
    assert actions()["timed"] is Action.REMOVED


def test_sync__operators_interval_stays(declare: Any) -> None:
    declare()
    schedule.sync()
    task = entry("timed")
    task.interval = IntervalSchedule.objects.create(every=2, period="minutes")
    task.save()
    assert actions()["timed"] is Action.EDITED
    assert entry("timed").interval.every == 2


def test_sync__operators_interval_stays_when_code_changes(declare: Any) -> None:
    declare()
    schedule.sync()
    task = entry("timed")
    task.interval = IntervalSchedule.objects.create(every=2, period="minutes")
    task.save()
    declare(every=timedelta(minutes=30))
    for _ in range(2):
        assert actions()["timed"] is Action.EDITED
    assert entry("timed").interval.every == 2


def test_sync__crontab_of_an_operator_stays(declare: Any) -> None:
    declare()
    schedule.sync()
    task = entry("timed")
    task.interval, task.crontab = None, CrontabSchedule.objects.create(minute="5")
    task.save()
    assert actions()["timed"] is Action.EDITED
    assert entry("timed").crontab.minute == "5"


def test_sync__entry_that_was_switched_off_stays_off(declare: Any) -> None:
    declare()
    schedule.sync()
    PeriodicTask.objects.filter(name="warm timed").update(enabled=False)
    declare(every=timedelta(minutes=30))
    assert actions()["timed"] is Action.UPDATED
    assert not entry("timed").enabled


def test_sync__interval_that_code_changed_follows(declare: Any) -> None:
    declare()
    schedule.sync()
    declare(every=timedelta(minutes=30))
    assert actions()["timed"] is Action.UPDATED
    assert (entry("timed").interval.every, entry("timed").expire_seconds) == (30, 1800)
    assert actions()["timed"] is Action.KEPT


def test_sync__back_to_codes_interval_follows_code_again(declare: Any) -> None:
    declare()
    schedule.sync()
    task = entry("timed")
    fifteen = task.interval
    task.interval = IntervalSchedule.objects.create(every=2, period="minutes")
    task.save()
    schedule.sync()
    task.interval = fifteen
    task.save()
    declare(every=timedelta(minutes=30))
    assert actions()["timed"] is Action.UPDATED


def test_sync__leaves_other_entries_alone() -> None:
    interval = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="warm greetings", task="mail.greet", interval=interval, args='["posts"]')
    schedule.sync()
    assert PeriodicTask.objects.get(name="warm greetings").task == "mail.greet"


def test_sync__its_own_upkeep_is_scheduled() -> None:
    schedule.sync()
    tasks = PeriodicTask.objects.filter(name__startswith="warmer: ").values_list("task", "queue")
    names = ("close_stalled_runs", "apply_pending", "observe_jobs", "forget_runs")
    assert {(f"warmer.{name}", "warming") for name in names} <= set(tasks)


def test_entries__say_when_a_job_is_due(django_assert_num_queries: Any) -> None:
    ran = timezone.now() - timedelta(minutes=5)
    PeriodicTask.objects.filter(name="warm posts").update(last_run_at=ran)
    PeriodicTask.objects.filter(name="warm popular_posts").update(enabled=False)
    with django_assert_num_queries(1):
        entries = schedule.entries()
    assert entries["posts"].every == "every 15 minutes"
    assert entries["posts"].due is not None
    assert abs(entries["posts"].due - ran - timedelta(minutes=15)) < timedelta(seconds=1)
    assert (entries["popular_posts"].enabled, entries["popular_posts"].due) == (False, None)


def test_warm_schedule__shows_what_is_declared_and_what_is_set() -> None:
    task = entry("posts")
    task.interval = IntervalSchedule.objects.create(every=2, period="minutes")
    task.save()
    out = io.StringIO()
    call_command("warm_schedule", "--json", stdout=out)
    rows = {row["job"]: row for row in json.loads(out.getvalue())}
    due = schedule.entries()["posts"].due
    assert due is not None
    assert abs(datetime.fromisoformat(rows["posts"].pop("due")) - due) < timedelta(seconds=5)
    assert rows["posts"] == {
        "job": "posts",
        "declared_seconds": 900.0,
        "schedule": "every 2 minutes",
        "enabled": True,
        "sync": "kept as an operator set it",
    }
    assert rows["popular_posts"]["sync"] == "kept"
    out = io.StringIO()
    call_command("warm_schedule", stdout=out)
    (shown,) = [line for line in out.getvalue().splitlines() if line.startswith("posts")]
    assert re.split(" {2,}", shown) == [
        *("posts", "15 min", "every 2 minutes", "yes", "kept as an operator set it"),
    ]
