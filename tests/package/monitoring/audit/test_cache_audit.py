"""How audits are begun: by `manage.py cache_audit`, which shows no value, and by the schedule."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from tests.package.monitoring.audit.conftest import declare
from tests.support.commands import Ended, Terminal, execute
from tests.support.waiting import uncaptured
from users.models import CustomUser
from users.warming import user_profiles
from warmer import jobs, schedule, warm, warm_many
from warmer.models import CacheAudit
from warmer.tasks import audit_sample

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def run(*args: str, **options: Any) -> Ended:
    return execute("cache_audit", *args, **options)


def broken(ids: Sequence[int] = ()) -> Mapping[int, Any]:
    raise ValueError("broken")


@pytest.mark.parametrize("any_cache", ["redis"], indirect=True)
def test_output(
    golden: Callable[..., None], job: Any, source: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("report", "monitoring.audit"):
        monkeypatch.setattr(f"warmer.{module}.MAX_FAILURES", 2)
    settings.WARMER_CAPTURE = "signals"
    job.warm()
    for number in (1, 2, 3):
        source[number] = source[number] | {"name": "another"}
    warm_many("bad:{id}", ids=lambda: [1], name="bad")(broken)
    warm_many("lost:{id}", ids=broken, name="lost")(dict)
    arguments = [("things",), ("things", "--sample", "5", "--seed", "7"), ("bad", "lost")]
    parts = [run(*args) for args in (*arguments, ("things", "--repair"))]
    golden("cache_audit", "\n\n".join(f"{each.out}{each.error} [exit {each.status}]" for each in parts))


def test_wrong__is_1_names_triggers_with_signals_and_can_be_repaired(job: Any, source: Any, settings: Any) -> None:
    job.warm()
    source[2] = "another"
    for capture, is_named in (("signals", True), ("triggers", False)):
        settings.WARMER_CAPTURE = capture
        assert ("WARMER_CAPTURE = 'triggers'" in run("things").out) is is_named
    assert run("things", "--repair").status == 1
    assert cache.get("thing:2") is None
    assert CacheAudit.objects.latest("pk").repaired == 1
    assert run("things", "--repair").status == 0


def test_json__is_all_that_is_printed(job: Any, source: Any) -> None:
    job.warm()
    printed = json.loads(run("things", "--json").out)
    assert (printed["status"], printed["jobs"][0]["right"]) == (0, 10)
    source[2] = {"id": 2, "name": "another"}
    done = run("things", "--json", "--sample", "10")
    printed = json.loads(done.out)
    (of_job,) = printed["jobs"]
    assert (done.status, printed["status"]) == (1, 1)
    assert of_job["wrong_keys"] == [{"key": "thing:2", "fields": ["name"]}]
    assert of_job["right_at_least"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["thing"], 2, "did you mean things?"),
        (["things", "--seed", "1"], 2, "--seed needs --sample"),
        *[(["things", "--sample", size], 1, "is not an integer from 1") for size in ("0", "-1", "many")],
    ],
)
def test_usage__is_refused(job: Any, args: list[str], status: int, message: str) -> None:
    done = run(*args)
    assert (done.status, message in done.error) == (status, True)  # the parser's are 2 in a shell
    assert not CacheAudit.objects.exists()


def test_every_job__is_audited_and_kept_though_some_are_away(source: Any, settings: Any) -> None:
    def ids() -> list[int]:
        raise OperationalError("connection to postgres://warmer:secret@db/0 failed\nIs the server running?")

    away = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {**settings.CACHES, "away": away}
    warm_many("a:{id}", ids=lambda: [1], name="aaa", cache="away")(dict)
    warm_many("b:{id}", ids=ids, name="bbb")(dict)
    declare(source).warm()
    done = run()
    assert (done.status, done.error) == (1, "Not fully audited: aaa, bbb.")
    assert "aaa: The cache 'away' at 127.0.0.1:1/0 does not answer" in done.out
    assert "\nbbb: OperationalError: connection to postgres://***@db/0 failed" in done.out
    audited = {row.job: row.right for row in CacheAudit.objects.all()}
    assert audited == {**dict.fromkeys(set(jobs) - {"aaa", "bbb"}, 0), "things": 10}
    assert {row.trigger for row in CacheAudit.objects.all()} == {"command"}


def test_progress__is_shown_on_a_terminal(job: Any) -> None:
    assert "things: 4 keys, 0 wrong" in run("things", output=Terminal).out
    assert "\r" not in run("things").out


def test_secrecy__values_are_shown_nowhere(make_user: Any, caplog: pytest.LogCaptureFixture, settings: Any) -> None:
    settings.WARMER_AUDIT_SAMPLE = 100
    user = make_user(first_name="Hunter2Old", bio="Hunter2Old")
    user_profiles.warm()
    with uncaptured():
        CustomUser.objects.filter(pk=user.pk).update(first_name="Hunter2New", bio="Hunter2New")
    with caplog.at_level(logging.DEBUG):
        ended = [run("user_profiles"), run("user_profiles", "--json")]
        audit_sample()
    rows = json.dumps(list(CacheAudit.objects.values()), default=str)
    out = "".join(each.out for each in ended)
    assert all("first_name" in text for text in (out, caplog.text, rows))
    assert "Hunter2" not in "".join([out, *(each.error for each in ended), caplog.text, rows])


# -- the schedule -------------------------------------------------------------------------------------
def entry() -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval").get(task="warmer.audit_sample")


def test_schedule__follows_the_settings(settings: Any) -> None:
    entries = PeriodicTask.objects.filter(task="warmer.audit_sample")
    schedule.sync()
    assert not entries.exists()
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
    PeriodicTask.objects.filter(task="warmer.audit_sample").update(interval=two, expire_seconds=120, enabled=False)
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


def test_task__audits_a_sample_of_every_job_though_some_fail(
    source: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 7
    away = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {**settings.CACHES, "away": away}
    warm_many("aaa:{id}", ids=lambda: 1 / 0, name="aaa")(dict)
    warm("away", name="away", cache="away")(lambda: 1)
    declare(source).warm()
    source.update(dict.fromkeys(range(10), "another"))
    audit_sample()
    rows = {row.job: row for row in CacheAudit.objects.all()}
    assert set(rows) == set(jobs) - {"away"}
    assert {row.trigger for row in rows.values()} == {"schedule"}
    assert (rows["things"].sampled, rows["things"].wrong, rows["things"].repaired) == (7, 7, 0)
    assert "things: 7 wrong and 0 failed of 7 sampled keys: thing:" in caplog.text
    assert "aaa: 0 wrong and 0 failed of 0 sampled keys: The ids could not be found" in caplog.text
    assert "away was not audited: " in caplog.text
    assert len(cache.get_many([f"thing:{number}" for number in range(10)])) == 10
