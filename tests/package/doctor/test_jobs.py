"""The doctor on the jobs, the pending changes and the database."""

import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from embedded.redis_server import RedisServer
from tests.package.doctor.support import Examine, expect
from tests.support.fixtures import install_triggers
from tests.support.jobs import make_spec
from tests.support.waiting import waiting
from warmer import invalidate_for
from warmer.doctor.checks import jobs as checks
from warmer.invalidation import triggers
from warmer.invalidation.sources import sources
from warmer.models import ChangeRecord, WarmingRun


def reschedule(name: str = "popular_posts", **schedule: Any) -> None:
    """Give a job another schedule: an interval, a crontab or a solar one."""
    PeriodicTask.objects.filter(name=f"warm {name}").update(
        **{"interval": None, "crontab": None, "solar": None} | schedule
    )


# -- the interval and the TTL ----------------------------------------------------------------------
@pytest.mark.django_db
def test_job_ttl__interval(examine: Examine) -> None:
    assert examine("job-ttl").severity == "ok"
    reschedule(interval=IntervalSchedule.objects.create(every=2, period="hours"))
    expect(examine("job-ttl"), "error", fix="timeout=timedelta(seconds=21600)\n")
    reschedule(solar=SolarSchedule.objects.create(event="sunset", latitude=50, longitude=8))
    assert examine("job-ttl").severity == "ok"  # not judged
    PeriodicTask.objects.filter(name="warm popular_posts").update(enabled=False)
    assert examine("job-ttl").severity == "info"


@pytest.mark.django_db
@pytest.mark.parametrize(("minute", "hour", "severity"), [("*/15", "6-20", "ok"), ("0", "*/2", "error")])
def test_job_ttl__crontab(examine: Examine, minute: str, hour: str, severity: str) -> None:
    reschedule(crontab=CrontabSchedule.objects.create(minute=minute, hour=hour))
    assert examine("job-ttl").severity == severity


@pytest.mark.parametrize(
    ("every", "severity"), [(None, "skipped"), (timedelta(minutes=15), "ok"), (timedelta(minutes=40), "warning")]
)
def test_job_ttl__declared(examine: Examine, every: timedelta | None, severity: str) -> None:
    spec = make_spec(every=every, timeout=timedelta(hours=1))
    assert examine("job-ttl", specs=(spec,), schedule=None).severity == severity


# -- the capture of changes, and what is pending ---------------------------------------------------
@pytest.mark.django_db
def test_capture(examine: Examine, settings: Any) -> None:
    settings.WARMER_CAPTURE = "triggers"
    install_triggers()
    assert examine("capture").severity == "ok"
    triggers.remove("default")
    lost = examine.all("capture")
    assert {found.severity for found in lost} == {"warning"}
    assert {found.message.partition(" ")[0] for found in lost} == set(sources().by_table)
    settings.WARMER_CAPTURE = "signals"
    assert examine("capture").severity == "info"
    assert examine("capture", specs=(make_spec(),)).severity == "skipped"


@pytest.mark.django_db(transaction=True)
def test_pending_invalidations(examine: Examine, redis_server: RedisServer, make_post: Any) -> None:
    assert examine("pending-invalidations").message == "0 invalidations pending"
    post = make_post()
    redis_server.stop()
    invalidate_for([post])
    assert examine("pending-invalidations").severity == "ok"  # the next try is due in seconds
    assert waiting()
    for ago, severity in ((timedelta(minutes=2), "warning"), (timedelta(hours=3), "error")):
        ChangeRecord.objects.update(recorded_at=timezone.now() - ago)
        assert examine("pending-invalidations").severity == severity


# -- the database ----------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_database__is_not_migrated(examine: Examine) -> None:
    assert examine("database").severity == "ok"
    with connection.schema_editor() as editor:
        editor.alter_db_table(WarmingRun, "warmer_warmingrun", "elsewhere")
    try:
        found = examine("database")
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(WarmingRun, "elsewhere", "warmer_warmingrun")
    assert (found.severity, found.fix) == ("error", "manage.py migrate --database default")


@pytest.mark.django_db
def test_database__is_read_only(examine: Examine) -> None:
    assert examine("database").severity == "ok"
    if connection.vendor == "postgresql":  # elsewhere that is not known
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")
        expect(examine("database"), "error", advises="primary")


@pytest.mark.django_db(transaction=True)
def test_database__does_not_answer(examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    connection.close()
    is_a_file = connection.vendor == "sqlite"
    wrong = {"NAME": str(tmp_path / "no" / "such" / "folder")} if is_a_file else {"HOST": str(tmp_path)}
    with monkeypatch.context() as patch:
        for name, value in wrong.items():
            patch.setitem(connection.settings_dict, name, value)
        assert examine("database").severity == "error"
        connection.close()
    call_command("check", "--database", "default")  # and afterwards it is there again


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ahead", "severity", "text"),
    [
        (0, "ok", ""),
        (1, "ok", ""),
        (10, "warning", "10 s ahead of"),
        (-10, "warning", "10 s behind"),
        (300, "error", "5 min ahead of"),
    ],
)
def test_clock_skew(examine: Examine, monkeypatch: pytest.MonkeyPatch, ahead: int, severity: str, text: str) -> None:
    monkeypatch.setattr(checks, "time", SimpleNamespace(time=lambda: time.time() + ahead))
    found = examine("clock-skew")
    if connection.vendor == "sqlite":
        severity, text = "skipped", "no clock of its own"
    assert found.severity == severity
    assert text in found.message
