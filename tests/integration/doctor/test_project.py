"""The doctor on the jobs, the waiting changes and the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import Look, says
from tests.integration.waiting import waiting
from tests.jobs import make_spec
from warmer import invalidate_for, schedule, warm
from warmer.doctor.database import ClockSkew, Database
from warmer.doctor.jobs import Capture, JobTtl, PendingInvalidations
from warmer.invalidation import triggers
from warmer.invalidation.sources import sources
from warmer.models import ChangeRecord, WarmingRun

ENTRY = "warm popular_posts"


# -- the interval and the TTL ----------------------------------------------------------------------
@pytest.mark.django_db
def test_job_ttl__of_the_project(look: Look) -> None:
    found = look(JobTtl(), beat=schedule.look_at_beat())
    assert says(found) == ("ok", "3 scheduled jobs: keys outlive a missed refresh")


@pytest.mark.django_db
def test_job_ttl__operator_set_a_longer_interval(look: Look) -> None:
    entry = PeriodicTask.objects.get(name=ENTRY)
    entry.interval = IntervalSchedule.objects.create(every=2, period="hours")
    entry.save()
    found = look(JobTtl(), beat=schedule.look_at_beat())
    assert found.severity == "error"
    assert found.seen.startswith("popular_posts is refreshed every 2 hours, and its keys live 1 h.")
    assert found.fix.startswith("timeout=timedelta(seconds=21600)\n")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("minute", "hour", "severity"),
    [("*/15", "*", "ok"), ("0,40", "*", "warning"), ("*/15", "6-20", "info"), ("0", "*/2", "error")],
)
def test_job_ttl__crontab(look: Look, minute: str, hour: str, severity: str) -> None:
    entry = PeriodicTask.objects.get(name=ENTRY)
    entry.interval, entry.crontab = None, CrontabSchedule.objects.create(minute=minute, hour=hour)
    entry.save()
    assert look(JobTtl(), beat=schedule.look_at_beat()).severity == severity


@pytest.mark.django_db
@pytest.mark.usefixtures("own_jobs")
def test_job_ttl__leaves_keys_alone_that_expire_before_the_next_refresh(look: Look) -> None:
    times = {"every": timedelta(minutes=15), "timeout": timedelta(hours=1), "refresh_below": 0.25}
    warm("news", name="news", **times)(dict)  # type: ignore[arg-type]
    call_command("warm_schedule", verbosity=0)
    assert look(JobTtl(), beat=schedule.look_at_beat()).severity == "ok"
    entry = PeriodicTask.objects.get(name="warm news")
    entry.interval = IntervalSchedule.objects.create(every=25, period="minutes")
    entry.save()
    found = look(JobTtl(), beat=schedule.look_at_beat())
    assert says(found) == (
        "warning",
        "news is refreshed every 25 minutes, and keys that live 15 min yet are left alone.",
    )
    assert found.fix.startswith("refresh_below=0.42\n")


@pytest.mark.django_db
def test_job_ttl__crontab_of_working_days_has_its_weekend() -> None:
    entry = PeriodicTask.objects.get(name=ENTRY)
    entry.interval = None
    entry.crontab = CrontabSchedule.objects.create(minute="0", hour="8", day_of_week="1-5")
    entry.save()
    gaps = schedule.look_at_beat().entries["popular_posts"].gaps
    assert gaps is not None
    assert gaps.longest == timedelta(days=3)


@pytest.mark.django_db
def test_job_ttl__by_the_sun_is_not_judged(look: Look) -> None:
    entry = PeriodicTask.objects.get(name=ENTRY)
    entry.interval = None
    entry.solar = SolarSchedule.objects.create(event="sunset", latitude=50, longitude=8)
    entry.save()
    assert look(JobTtl(), beat=schedule.look_at_beat()).severity == "ok"


@pytest.mark.django_db
def test_job_ttl__switched_off(look: Look) -> None:
    PeriodicTask.objects.filter(name=ENTRY).update(enabled=False)
    found = look(JobTtl(), beat=schedule.look_at_beat())
    assert says(found) == ("info", "popular_posts is switched off in the schedule.")


def test_job_ttl__declared_with_no_room(look: Look) -> None:
    spec = make_spec(every=timedelta(minutes=40), timeout=timedelta(hours=1))
    found = look(JobTtl(), specs=(spec,))
    assert says(found) == ("warning", "things is refreshed every 40 min, and its keys live 1 h.")


def test_job_ttl__nothing_is_scheduled(look: Look) -> None:
    assert look.not_checked(JobTtl(), specs=(make_spec(every=None),)) == "no job is scheduled"


# -- the capture of changes ------------------------------------------------------------------------
@pytest.mark.django_db
def test_capture(look: Look, settings: Any) -> None:
    settings.WARMER_CAPTURE = "triggers"
    triggers.install("default")
    assert says(look(Capture())) == ("ok", "every table that a job depends on has its triggers")
    triggers.remove("default")
    lost = look.all(Capture())
    assert {found.severity for found in lost} == {"warning"}
    assert {found.seen.partition(" ")[0] for found in lost} == set(sources().by_table)
    settings.WARMER_CAPTURE = "signals"
    assert says(look(Capture())) == ("info", "Changes are captured by Django's signals.")
    assert look.not_checked(Capture(), specs=(make_spec(),)) == "no job depends on a table"


# -- pending invalidations -------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_pending_invalidations(look: Look, redis_server: RedisServer, make_post: Any) -> None:
    assert says(look(PendingInvalidations())) == ("ok", "none")
    post = make_post()
    redis_server.stop()
    invalidate_for([post])
    assert look(PendingInvalidations()).severity == "ok"  # the next try is due in seconds
    assert waiting()
    for ago, severity in ((timedelta(minutes=2), "warning"), (timedelta(hours=3), "error")):
        ChangeRecord.objects.update(recorded_at=timezone.now() - ago)
        found = look(PendingInvalidations())
        assert found.severity == severity
        assert "the oldest for " in found.seen


# -- the database ----------------------------------------------------------------------------------
@pytest.mark.django_db
def test_database__is_there(look: Look) -> None:
    assert says(look(Database())) == ("ok", f"{connection.vendor} answers, with warmer's tables")


@pytest.mark.django_db(transaction=True)
def test_database__is_not_migrated(look: Look) -> None:
    with connection.schema_editor() as editor:
        editor.alter_db_table(WarmingRun, "warmer_warmingrun", "elsewhere")
    try:
        found = look(Database())
        assert found.severity == "error"
        assert found.fix == "manage.py migrate --database default"
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(WarmingRun, "elsewhere", "warmer_warmingrun")


@pytest.mark.django_db(transaction=True)
def test_database__does_not_answer(look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    connection.close()
    is_a_file = connection.vendor == "sqlite"
    wrong = {"NAME": str(tmp_path / "no" / "such" / "folder")} if is_a_file else {"HOST": str(tmp_path)}
    with monkeypatch.context() as patch:
        for name, value in wrong.items():
            patch.setitem(connection.settings_dict, name, value)
        found = look(Database())
        connection.close()
    assert found.severity == "error"
    assert "does not answer" in found.seen
    call_command("check", "--database", "default")  # and afterwards it is there again


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ahead", "severity", "said"),
    [
        (0, "ok", ""),
        (1, "ok", ""),
        (10, "warning", "The clock of this machine is 10 s ahead of the database's."),
        (-10, "warning", "The clock of this machine is 10 s behind the database's."),
        (300, "error", "The clock of this machine is 5 min ahead of the database's."),
    ],
)
def test_clock_skew(look: Look, ahead: int, severity: str, said: str) -> None:
    found = look(ClockSkew(), now=lambda: timezone.now() + timedelta(seconds=ahead))
    assert found.severity == severity
    assert found.seen == said or severity == "ok"
