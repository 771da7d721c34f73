"""The schedule in beat: it follows the code, and what an operator sets is bounded and stays."""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks, SolarSchedule

from tests.support.commands import execute
from warmer import jobs, schedule, warm
from warmer.declarations.spec import JobSpec
from warmer.schedule import Action, ScheduleError, ScheduleForm
from warmer.schedule.entries import shortest_gap
from warmer.schedule.form import CRONTAB_FIELDS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs")]
Declare = Callable[..., JobSpec]


@pytest.fixture
def declare() -> Declare:
    """Return a function that declares the job 'timed', or declares it anew, without a sync."""

    def declare(**options: Any) -> JobSpec:
        if "timed" in jobs:
            jobs.unregister("timed")
        warm("timed", name="timed", **options)(lambda: 1)
        return jobs["timed"].spec

    return declare


@pytest.fixture
def spec(declare: Declare) -> JobSpec:
    """A job that is refreshed every 15 minutes, and whose keys live an hour; it has its entry."""
    spec = declare()
    schedule.sync()
    return spec


def row(job: str = "timed") -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval", "crontab").get(name=f"warm {job}")


def form(spec: JobSpec, **data: Any) -> ScheduleForm:
    return ScheduleForm(spec, {"kind": "interval", "unit": "minutes", "enabled": "on", **data})


def fill_in(spec: JobSpec, **data: Any) -> None:
    filled = form(spec, **data)
    assert filled.is_valid(), filled.errors
    filled.save()


def test_migrate__made_one_entry_a_job_which_another_sync_leaves() -> None:
    for name in ("user_profiles", "popular_posts", "posts"):
        task = row(name)
        assert (task.task, json.loads(task.args)) == ("warmer.scheduled_run", [name])
        assert (task.interval.every, task.interval.period) == (15, "minutes")
        assert (task.enabled, task.queue, task.expire_seconds) == (True, "warming", 900)
    own = PeriodicTask.objects.filter(name__startswith="warmer: ").values_list("task", "queue")
    names = ("close_stalled_runs", "observe_jobs", "forget_runs")
    assert {(f"warmer.{name}", "warming") for name in names} <= set(own)
    before = list(PeriodicTask.objects.order_by("id").values())
    assert {n: a for n, a in schedule.sync().items() if a != Action.KEPT} == {}
    assert list(PeriodicTask.objects.order_by("id").values()) == before


@pytest.mark.parametrize("is_gone", [True, False])
def test_sync__job_that_is_new_then_gone_or_no_longer_scheduled(declare: Declare, is_gone: bool) -> None:
    declare(every=timedelta(seconds=90), timeout=timedelta(minutes=5))
    assert schedule.sync()["timed"] is Action.CREATED
    assert (row().interval.every, row().interval.period) == (90, "seconds")
    if is_gone:
        jobs.unregister("timed")
    else:
        declare(every=None)
    assert schedule.sync()["timed"] is Action.REMOVED
    assert not PeriodicTask.objects.filter(name="warm timed").exists()


@pytest.mark.parametrize("kind", ["interval", "crontab"])
def test_sync__operators_interval_stays_when_code_changes(spec: JobSpec, declare: Declare, kind: str) -> None:
    fill_in(spec, kind=kind, number=2, crontab="*/20 * * * *", enabled="")
    edited = row()
    assert schedule.sync()["timed"] is Action.EDITED
    declare(every=timedelta(minutes=30))
    for _ in range(2):
        assert schedule.sync()["timed"] is Action.EDITED
    assert (row().interval, row().crontab, row().enabled) == (edited.interval, edited.crontab, False)


def test_sync__entry_that_was_switched_off_stays_off(spec: JobSpec, declare: Declare) -> None:
    schedule.switch(spec, on=False)
    declare(every=timedelta(minutes=30))
    assert schedule.sync()["timed"] is Action.UPDATED
    assert (row().interval.every, row().expire_seconds, row().enabled) == (30, 1800, False)
    assert schedule.sync()["timed"] is Action.KEPT
    schedule.switch(spec, on=True)
    assert row().enabled


@pytest.mark.parametrize("back", [schedule.reset, lambda spec: fill_in(spec, number=15)], ids=["reset", "set"])
def test_sync__entry_that_is_set_back_follows_the_code_again(
    spec: JobSpec, declare: Declare, back: Callable[[JobSpec], None]
) -> None:
    fill_in(spec, kind="crontab", crontab="*/20 * * * *", enabled="")
    schedule.sync()
    back(spec)
    assert (row().interval.every, row().crontab, row().enabled) == (15, None, True)
    declare(every=timedelta(minutes=30))
    assert schedule.sync()["timed"] is Action.UPDATED
    assert row().interval.every == 30


@pytest.mark.parametrize("headers", ['{"x": 1}', '{"warmer_declared_seconds": "x"}', "[1]", "{x", ""])
def test_sync__entry_whose_headers_an_operator_changed(spec: JobSpec, declare: Declare, headers: str) -> None:
    PeriodicTask.objects.filter(name="warm timed").update(headers=headers)
    assert schedule.sync()["timed"] is Action.KEPT
    assert json.loads(row().headers).get("x") == (1 if 'x": 1' in headers else None)
    declare(every=timedelta(minutes=30))
    assert schedule.sync()["timed"] is Action.UPDATED


def test_sync__leaves_other_entries_alone() -> None:
    daily = IntervalSchedule.objects.create(every=1, period="days")
    others = {"warm greetings": "mail.greet", "posts at night": "warmer.scheduled_run"}
    for name, task in others.items():
        PeriodicTask.objects.create(name=name, task=task, interval=daily, args='["gone"]')
    schedule.sync()
    assert dict(PeriodicTask.objects.filter(name__in=others).values_list("name", "task")) == others


def test_warm_schedule__shows_what_is_declared_and_what_is_set() -> None:
    fill_in(jobs["posts"].spec, number=2)
    rows = {each["job"]: each for each in json.loads(execute("warm_schedule", "--json").out)}
    due = schedule.entries()["posts"].due()
    assert due is not None
    assert abs(datetime.fromisoformat(rows["posts"].pop("due")) - due) < timedelta(seconds=5)
    sync = "kept as an operator set it"
    told = {"declared_seconds": 900.0, "schedule": "every 2 min", "enabled": True, "sync": sync}
    assert rows["posts"] == {"job": "posts"} | told
    assert rows["popular_posts"]["sync"] == "kept"
    (shown,) = [line for line in execute("warm_schedule").out.splitlines() if line.startswith("posts")]
    assert re.split(" {2,}", shown) == ["posts", "15 min", "every 2 min", "yes", sync]


def test_entries__tell_when_a_job_is_due(django_assert_num_queries: Any) -> None:
    ran = timezone.now() - timedelta(minutes=5)
    PeriodicTask.objects.filter(name="warm posts").update(last_run_at=ran)
    PeriodicTask.objects.filter(name="warm popular_posts").update(enabled=False)
    with django_assert_num_queries(1):
        entries = schedule.entries()
        due = entries["posts"].due()
        assert (entries["posts"].text, due is None) == ("every 15 min", False)
        assert abs(due - ran - timedelta(minutes=15)) < timedelta(seconds=1)
        assert (entries["popular_posts"].enabled, entries["popular_posts"].due()) == (False, None)


def test_entries__skip_what_an_operator_made_unreadable(spec: JobSpec) -> None:
    PeriodicTask.objects.filter(name="warm posts").update(args="[]", enabled=False)
    PeriodicTask.objects.filter(name="warm popular_posts").update(args="what?")
    assert set(schedule.entries()) == {"timed", "user_profiles"}
    schedule.sync()


def test_tables_exist__only_on_the_database_that_beat_uses() -> None:
    assert schedule.tables_exist()
    assert schedule.tables_exist("default")
    assert not schedule.tables_exist("other")  # whose migration must not query beat's database


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ("0 0 * * *", timedelta(days=1)),
        ("5,20 * * * *", timedelta(minutes=15)),
        ("0 8-18 * * *", timedelta(hours=1)),
        ("50 0,23 * * *", timedelta(hours=1)),
        ("0 3 * * 1", timedelta(days=7)),
        ("0 3 * * mon,wed", timedelta(days=2)),
        ("50 0,23 * * 1", timedelta(hours=23)),
        ("0 0 1 * *", timedelta(days=28)),
        ("0 0 29 2 *", timedelta(days=1461)),
        ("0 0 29 2 mon", timedelta(days=1830)),  # every 28 years: at least five
    ],
)
def test_shortest_gap__of_a_crontab(text: str, gap: timedelta) -> None:
    crontab = CrontabSchedule(**dict(zip(CRONTAB_FIELDS, text.split(), strict=True)), timezone="UTC")
    assert shortest_gap(crontab) == gap


def test_set__interval_and_crontab(spec: JobSpec) -> None:
    before, crontabs = PeriodicTasks.last_change(), CrontabSchedule.objects.count()
    fill_in(spec, number=2)
    assert (row().interval.every, row().interval.period, row().expire_seconds) == (2, "minutes", 120)
    assert before is None or PeriodicTasks.last_change() > before  # so that beat reads it
    for _ in range(2):
        fill_in(spec, kind="crontab", crontab="*/20  *  * * *")
    assert CrontabSchedule.objects.count() == crontabs + 1
    assert (row().interval, row().crontab.minute, row().expire_seconds) == (None, "*/20", 1200)
    assert ScheduleForm(spec).initial["crontab"] == "*/20 * * * *"
    fill_in(spec, number=2)
    assert (row().crontab, row().interval.every) == (None, 2)


def test_set__sunrise_is_replaced(spec: JobSpec) -> None:
    task = row()
    sunrise = SolarSchedule.objects.create(event="sunrise", latitude=48, longitude=16)
    task.interval, task.solar = None, sunrise
    task.save()
    entry = schedule.entry_of(spec)
    assert entry is not None
    assert ("Sunrise" in entry.text, entry.shortest_gap) == (True, None)
    fill_in(spec, number=2)
    assert (row().solar, row().interval.every) == (None, 2)


LONG = {"timeout": timedelta(days=90)}
SHORT = {"timeout": timedelta(hours=1), "jitter": timedelta(minutes=10)}


@pytest.mark.parametrize(
    ("options", "number", "unit", "is_valid"),
    [
        *[(LONG, 29, "seconds", False), (LONG, 30, "seconds", True)],
        *[(LONG, 30, "days", True), (LONG, 31, "days", False)],
        *[(LONG, number, "minutes", False) for number in (0, -5, "x", 10**30)],
        # Keys must outlive their refresh.
        *[(SHORT, number, "minutes", number < 50) for number in (49, 50, 60)],
    ],
)
def test_set__interval_has_bounds(
    declare: Declare, options: dict[str, Any], number: Any, unit: str, is_valid: bool
) -> None:
    assert form(declare(**options), number=number, unit=unit).is_valid() is is_valid


def test_set__crontab_is_refused_when_all_keys_expire(spec: JobSpec) -> None:
    assert "crontab" in form(spec, kind="crontab", crontab="0 * * * *").errors
    fill_in(spec, kind="crontab", crontab="*/10 8-18 * * mon-fri")
    assert row().crontab.day_of_week == "mon-fri"


@pytest.mark.parametrize(
    "text", ["", "* * * *", "* * * * * *", "61 * * * *", "* * * 13 *", "*/0 * * * *", "a;b * * * *", "0 0 31 2 *"]
)
def test_set__not_a_crontab(spec: JobSpec, text: str) -> None:
    assert "crontab" in form(spec, kind="crontab", crontab=text).errors


def test_set__entry_that_is_gone_is_made_again(spec: JobSpec) -> None:
    row().delete()
    fill_in(spec, number=2)
    assert (row().task, row().args, row().interval.every) == ("warmer.scheduled_run", '["timed"]', 2)


@pytest.mark.parametrize("fields", [{"task": "mail.greet"}, {"args": '["posts"]'}, {"args": "[]"}])
def test_set__entry_that_runs_something_else_is_left_alone(spec: JobSpec, fields: dict[str, str]) -> None:
    filled = form(spec, number=2)
    assert filled.is_valid()
    PeriodicTask.objects.filter(name="warm timed").update(**fields)
    before = PeriodicTask.objects.filter(name="warm timed").values().get()
    for act in (filled.save, lambda: schedule.switch(spec, on=False), lambda: schedule.reset(spec)):
        with pytest.raises(ScheduleError):
            act()
    assert PeriodicTask.objects.filter(name="warm timed").values().get() == before


def test_set__job_that_is_not_scheduled(declare: Declare) -> None:
    spec = declare(every=None)
    for act in (lambda: fill_in(spec, number=2), lambda: schedule.reset(spec)):
        with pytest.raises(ScheduleError, match="every=None"):
            act()
    assert not PeriodicTask.objects.filter(name="warm timed").exists()
