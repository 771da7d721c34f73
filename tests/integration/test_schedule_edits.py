"""What an operator sets of a job's entry: bounded, and nothing but its timing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks, SolarSchedule

from warmer import jobs, schedule, warm
from warmer.declarations.spec import JobSpec
from warmer.schedule import Action, edits
from warmer.schedule.edits import ScheduleError, Timing, set_timing

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def declare() -> Callable[..., JobSpec]:
    """Return a function that declares the job 'timed', or declares it anew, and syncs."""

    def declare(**options: Any) -> JobSpec:
        if "timed" in jobs:
            jobs.unregister("timed")
        warm("timed", name="timed", **options)(lambda: 1)
        schedule.sync()
        return jobs["timed"].spec

    return declare


@pytest.fixture
def spec(declare: Callable[..., JobSpec]) -> JobSpec:
    """A job that is refreshed every 15 minutes, and whose keys live an hour."""
    return declare()


def entry() -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval", "crontab").get(name="warm timed")


def action() -> Action:
    return {synced.job: synced.action for synced in schedule.sync()}["timed"]


def test_set_timing__interval(spec: JobSpec) -> None:
    before = PeriodicTasks.last_change()
    assert set_timing(spec, Timing(every=timedelta(minutes=2))) == ""
    task = entry()
    assert (task.interval.every, task.interval.period, task.expire_seconds) == (2, "minutes", 120)
    assert edits.current(spec) == Timing(every=timedelta(minutes=2))
    assert before is None or PeriodicTasks.last_change() > before  # so beat reads it


def test_set_timing__sync_keeps_it(spec: JobSpec, declare: Any) -> None:
    set_timing(spec, Timing(every=timedelta(minutes=2), enabled=False))
    declare(every=timedelta(minutes=30))
    assert action() is Action.EDITED
    assert (entry().interval.every, entry().enabled) == (2, False)


def test_set_timing__crontab_and_back(spec: JobSpec, declare: Any) -> None:
    assert set_timing(spec, Timing(crontab="*/20  *  * * *")) == ""
    task = entry()
    assert (task.interval, task.crontab.minute, task.expire_seconds) == (None, "*/20", 1200)
    now = edits.current(spec)
    assert now is not None
    assert (now.crontab, now.timezone) == ("*/20 * * * *", "UTC")
    declare(every=timedelta(minutes=30))
    assert action() is Action.EDITED
    assert entry().crontab.minute == "*/20"
    set_timing(spec, Timing(every=timedelta(minutes=2)))
    assert (entry().crontab, entry().interval.every) == (None, 2)


def test_set_timing__same_crontab_is_one_row(spec: JobSpec) -> None:
    before = CrontabSchedule.objects.count()
    for _ in range(2):
        set_timing(spec, Timing(crontab="*/20 * * * *"))
    assert CrontabSchedule.objects.count() == before + 1


def test_set_timing__of_another_kind_is_replaced(spec: JobSpec) -> None:
    task = entry()
    task.interval, task.solar = (
        None,
        SolarSchedule.objects.create(event="sunrise", latitude=48, longitude=16),
    )
    task.save()
    now = edits.current(spec)
    assert now is not None
    assert "Sunrise" in now.other
    set_timing(spec, Timing(every=timedelta(minutes=2)))
    assert (entry().solar, entry().interval.every) == (None, 2)


@pytest.mark.parametrize("seconds", [0, -60, 29, 30.5, 30 * 86_400 + 1])
def test_set_timing__interval_out_of_bounds(declare: Any, seconds: float) -> None:
    spec = declare(timeout=timedelta(days=90))
    with pytest.raises(ScheduleError, match="from 30 seconds to 30 days"):
        set_timing(spec, Timing(every=timedelta(seconds=seconds)))
    assert entry().interval.every == 15


@pytest.mark.parametrize("seconds", [30, 30 * 86_400])
def test_set_timing__interval_at_the_bounds(declare: Any, seconds: int) -> None:
    spec = declare(timeout=timedelta(days=90))
    set_timing(spec, Timing(every=timedelta(seconds=seconds)))
    assert edits.current(spec) == Timing(every=timedelta(seconds=seconds))


@pytest.mark.parametrize("every", [timedelta(minutes=50), timedelta(hours=1), timedelta(hours=2)])
def test_set_timing__keys_that_expire_before_their_refresh(declare: Any, every: timedelta) -> None:
    spec = declare(timeout=timedelta(hours=1), jitter=timedelta(minutes=10))
    with pytest.raises(ScheduleError, match=r"Keys of timed live 50 minutes.*expire before it"):
        set_timing(spec, Timing(every=every))
    assert entry().interval.every == 15


def test_set_timing__crontab_whose_keys_always_expire_before(spec: JobSpec) -> None:
    with pytest.raises(ScheduleError, match="at least 1 hour lie between"):
        set_timing(spec, Timing(crontab="0 * * * *"))
    assert entry().crontab is None


def test_set_timing__crontab_with_a_night_says_so(spec: JobSpec) -> None:
    note = set_timing(spec, Timing(crontab="*/10 8-18 * * mon-fri"))
    assert "About 61 hours lie between" in note
    assert entry().crontab.day_of_week == "mon-fri"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("61 * * * *", "no crontab: minute"),
        ("* * * 13 *", "no crontab: month_of_year"),
        ("*/0 * * * *", "no crontab"),
        ("a;b * * * *", "no crontab"),
        ("0 0 31 2 *", "never"),
    ],
)
def test_set_timing__no_crontab(spec: JobSpec, text: str, said: str) -> None:
    with pytest.raises(ScheduleError, match=said):
        set_timing(spec, Timing(crontab=text))
    assert (entry().crontab, entry().interval.every) == (None, 15)


def test_set_timing__touches_nothing_else(spec: JobSpec) -> None:
    others = PeriodicTask.objects.exclude(name="warm timed").order_by("id")
    before = list(others.values())
    task = PeriodicTask.objects.filter(name="warm timed")
    kept = task.values("task", "args", "kwargs", "queue", "name").get()
    set_timing(spec, Timing(every=timedelta(minutes=2), enabled=False))
    assert list(others.values()) == before
    assert task.values("task", "args", "kwargs", "queue", "name").get() == kept


def test_set_timing__entry_that_is_gone_is_made_again(spec: JobSpec) -> None:
    entry().delete()
    assert edits.current(spec) is None
    set_timing(spec, Timing(every=timedelta(minutes=2)))
    assert (entry().task, entry().args, entry().interval.every) == ("warmer.scheduled_run", '["timed"]', 2)


@pytest.mark.parametrize("fields", [{"task": "mail.greet"}, {"args": '["posts"]'}, {"args": "[]"}])
def test_set_timing__entry_that_runs_something_else_is_left_alone(
    spec: JobSpec, fields: dict[str, str]
) -> None:
    PeriodicTask.objects.filter(name="warm timed").update(**fields)
    before = PeriodicTask.objects.filter(name="warm timed").values().get()
    for act in (
        lambda: set_timing(spec, Timing(every=timedelta(minutes=2))),
        lambda: edits.switch(spec, on=False),
        lambda: edits.reset(spec),
    ):
        with pytest.raises(ScheduleError, match="no longer runs this job"):
            act()
    assert PeriodicTask.objects.filter(name="warm timed").values().get() == before


def test_set_timing__job_that_is_not_scheduled(declare: Any) -> None:
    spec = declare(every=None)
    for act in (
        lambda: set_timing(spec, Timing(every=timedelta(minutes=2))),
        lambda: edits.reset(spec),
    ):
        with pytest.raises(ScheduleError, match="every=None"):
            act()
    assert edits.declared(spec) is None
    assert not PeriodicTask.objects.filter(name="warm timed").exists()


def test_reset__follows_the_code_again(spec: JobSpec, declare: Any) -> None:
    set_timing(spec, Timing(crontab="*/20 * * * *", enabled=False))
    spec = declare(every=timedelta(minutes=30))
    edits.reset(spec)
    assert edits.current(spec) == edits.declared(spec) == Timing(every=timedelta(minutes=30))
    assert entry().expire_seconds == 1800
    declare(every=timedelta(minutes=10))
    assert entry().interval.every == 10


def test_switch__off_and_on(spec: JobSpec) -> None:
    assert edits.switch(spec, on=False)
    assert not edits.switch(spec, on=False)
    assert schedule.paused() == {"timed"}
    assert schedule.entries(["timed"])["timed"].due is None
    assert edits.switch(spec, on=True)
    assert schedule.paused() == set()
    due = schedule.entries(["timed"])["timed"].due
    assert due is not None
    assert due > timezone.now()


def test_entries__skip_what_an_operator_made_unreadable(spec: JobSpec) -> None:
    PeriodicTask.objects.filter(name="warm posts").update(args="[]", enabled=False)
    PeriodicTask.objects.filter(name="warm popular_posts").update(args="what?")
    assert "timed" in schedule.entries()
    assert schedule.paused() == set()
    schedule.sync()


def test_in_words__in_the_largest_whole_unit() -> None:
    said = [edits.in_words(timedelta(seconds=each)) for each in (1, 90, 60, 900, 3600, 86_400, 172_800)]
    assert said == ["1 second", "90 seconds", "1 minute", "15 minutes", "1 hour", "1 day", "2 days"]
