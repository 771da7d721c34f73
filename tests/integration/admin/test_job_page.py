"""A job's page, and the form of its schedule: it grants what it says, and nothing more."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from warmer import jobs, schedule, warm, warm_many
from warmer.admin.log import log_job
from warmer.models import CacheAudit, WarmingRun
from warmer.schedule import Action

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

PAGE = "/admin/warmer/job/posts/schedule/"
RESET = f"{PAGE}reset/"


def entry(job: str = "posts") -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval", "crontab").get(name=f"warm {job}")


def interval(number: object, unit: str = "minutes", **fields: object) -> dict[str, object]:
    return {"kind": "interval", "number": number, "unit": unit, "enabled": "on", **fields}


def crontab(text: str, **fields: object) -> dict[str, object]:
    return {"kind": "crontab", "crontab": text, "enabled": "on", **fields}


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).replace("\xa0", " ").split())


@pytest.fixture
def editor(log_in: Callable[..., Client]) -> Client:
    """A client named `ed` that may set schedules, and do nothing else."""
    return log_in("edit_schedule", username="ed")


def test_page__shows_what_code_says_beside_what_is_in_force(editor: Client) -> None:
    page = editor.get(PAGE).content.decode()
    assert page.count("<td>every 15 min") == 2
    assert "as code says" in page
    editor.post(PAGE, interval(2, enabled=""))
    page = editor.get(PAGE).content.decode()
    assert "<td>every 15 min</td>" in page
    assert "<td>every 2 minutes, paused <" in page
    assert "set by an operator" in page
    assert "Changes, deploys, commands and people still warm it" in page
    assert 'name="number" value="2"' in page


def test_page__pausing_is_no_edit_of_the_interval(editor: Client) -> None:
    PeriodicTask.objects.filter(name="warm posts").update(enabled=False)
    page = editor.get(PAGE).content.decode()
    assert "<td>every 15 minutes, paused <" in page
    assert "set by an operator" not in page
    assert "(the interval as code says, paused by an operator)" in page


def test_page__shows_the_declaration(editor: Client) -> None:
    page = editor.get(PAGE).content.decode()
    for shown in ("post:{id}", "1:00:00", "myapp.Post", "default, warming", "myapp.warming:"):
        assert shown in page


def test_page__shows_what_is_declared_beyond_the_usual(editor: Client) -> None:
    plain = text_of(editor.get(PAGE).content.decode())
    for shown in (
        "Absent values not cached negative_timeout",
        "as fast as they go max_batches_per_second",
        "refreshes every key refresh_below",
        "A change invalidates the keys on_change",
    ):
        assert shown in plain
    warm_many(
        "x:{id}",
        ids=list,
        name="x",
        negative_timeout=timedelta(minutes=5),
        max_batches_per_second=2.5,
        refresh_below=0.5,
        on_change="refresh",
        batch_size=1,
    )(dict.fromkeys)
    full = text_of(editor.get("/admin/warmer/job/x/schedule/").content.decode())
    for shown in (
        "that there is none is cached for 0:05:00",
        "1 id, at most 2.5 a second",
        "keys with less than 50 % of their life left",
        "invalidates the keys, and has them warmed again",
    ):
        assert shown in full


def test_set__interval_with_who_and_why(editor: Client) -> None:
    answer = editor.post(PAGE, interval(90, "seconds", why="more traffic"), follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    assert "Set the schedule of posts: every 90 seconds" in answer.content.decode()
    assert (entry().interval.every, entry().interval.period, entry().enabled) == (90, "seconds", True)
    logged = LogEntry.objects.get()
    assert (logged.user.username, logged.object_id) == ("ed", "posts")
    assert editor.get(str(logged.get_admin_url()))["Location"] == PAGE
    assert logged.change_message == (
        "Schedule: every 90 seconds (before: every 15 minutes). Why: more traffic"
    )


def test_set__crontab_is_kept_by_a_sync_and_shown(editor: Client) -> None:
    editor.post(PAGE, crontab("*/20 8-18 * * mon-fri"))
    assert schedule.sync()["posts"] is Action.EDITED
    assert (entry().crontab.minute, entry().interval) == ("*/20", None)
    page = editor.get(PAGE).content.decode()
    assert "*/20 8-18 * * mon-fri (m/h/dM/MY/d) UTC" in page
    assert 'value="*/20 8-18 * * mon-fri"' in page
    overview = editor.get("/admin/warmer/").content.decode()
    assert "*/20" in overview


def test_set__crontab_with_a_night_warns(editor: Client) -> None:
    page = editor.post(PAGE, crontab("*/20 8-18 * * *"), follow=True).content.decode()
    assert "pass between two refreshes: readers load them then" in page


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (interval(29, "seconds"), "from 30 seconds to 30 days"),
        (interval(31, "days"), "from 30 seconds to 30 days"),
        (interval(1, "hours"), "they expire before each"),
        (interval(2, "hours"), "they expire before each"),
        (interval(0), "greater than or equal to 1"),
        (interval(-5), "greater than or equal to 1"),
        (interval("x"), "Enter a whole number"),
        (interval(10**30), "less than or equal to"),
        (interval(""), "Enter a number and its unit"),
        (interval(5, "fortnights"), "not one of the available choices"),
        (interval(5, ""), "Enter a number and its unit"),
        (crontab("0 * * * *"), "they expire before each"),
        (crontab("* * *"), "five fields"),
        (crontab("99 * * * *"), "This is not a crontab"),
        (crontab("<b> * * * *"), "This is not a crontab"),
        (crontab(""), "Enter five fields"),
        (crontab("1," * 200 + "1 * * * *"), "at most 200 characters"),
        ({"kind": "solar", "enabled": "on"}, "not one of the available choices"),
        ({}, "This field is required"),
    ],
)
def test_set__what_is_out_of_bounds_is_refused_and_said(
    editor: Client, data: dict[str, object], said: str
) -> None:
    before = PeriodicTask.objects.filter(name="warm posts").values().get()
    answer = editor.post(PAGE, data)
    assert answer.status_code == 200
    page = answer.content.decode()
    assert said in page
    assert "Nothing was set" in page
    assert "<b>" not in page
    assert PeriodicTask.objects.filter(name="warm posts").values().get() == before
    assert not LogEntry.objects.exists()


def test_reset__is_the_codes_value_again_and_follows_it(editor: Client) -> None:
    editor.post(PAGE, crontab("*/20 * * * *", enabled=""))
    page = editor.post(RESET, {"why": "as before"}, follow=True).content.decode()
    assert "Set the schedule of posts: every 15 minutes" in page
    assert (entry().interval.every, entry().crontab, entry().enabled) == (15, None, True)
    last = LogEntry.objects.order_by("pk").last()
    assert last is not None
    assert last.change_message.endswith("(before: */20 * * * * (m/h/dM/MY/d) UTC, paused). Why: as before")


def test_reset__by_get_is_405(editor: Client) -> None:
    assert editor.get(RESET).status_code == 405


@pytest.mark.parametrize("url", [PAGE, RESET])
def test_set__without_the_permission_is_403_and_there_is_no_form(
    log_in: Callable[..., Client], url: str
) -> None:
    client = log_in("view_job", "pause_job", "warm_job", "audit_job", "invalidate_job", "cancel_run")
    before = list(PeriodicTask.objects.order_by("id").values())
    assert client.post(url, interval(2)).status_code == 403
    assert list(PeriodicTask.objects.order_by("id").values()) == before
    page = client.get(PAGE).content.decode()
    assert 'name="number"' not in page
    assert "code&#x27;s value" not in page
    assert "code's value" not in page


@pytest.mark.parametrize("url", [PAGE, RESET])
def test_set__without_the_csrf_token_is_403(editor: Client, url: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = editor.cookies
    assert strict.post(url, interval(2)).status_code == 403
    assert entry().interval.every == 15


def test_permission__changes_nothing_but_the_timing_of_the_job(editor: Client) -> None:
    """What a request says of tasks, arguments, names and queues is not looked at."""
    tables = (
        PeriodicTask.objects.exclude(name="warm posts"),
        CrontabSchedule.objects,
        IntervalSchedule.objects,
    )
    before = [list(table.order_by("id").values()) for table in tables]
    fields = ("name", "task", "args", "kwargs", "queue", "exchange", "routing_key", "headers", "one_off")
    kept = PeriodicTask.objects.filter(name="warm posts").values(*fields).get()
    hostile = {
        "name": "warm everything",
        "task": "mail.greet",
        "args": '["user_profiles"]',
        "kwargs": '{"a": 1}',
        "queue": "other",
        "job": "user_profiles",
        "id": entry("user_profiles").pk,
        "headers": "{}",
        "interval": 1,
    }
    assert editor.post(PAGE, interval(15, **hostile)).status_code == 302
    assert editor.post(RESET, hostile).status_code == 302
    assert PeriodicTask.objects.filter(name="warm posts").values(*fields).get() == kept
    assert [list(table.order_by("id").values()) for table in tables] == before


def test_permission__opens_no_other_door(editor: Client) -> None:
    task = entry()
    others = PeriodicTask.objects.order_by("id")
    before = list(others.values())
    cache.set("popular_posts", ["kept"])
    beat = "/admin/django_celery_beat/periodictask/"
    for url in (beat, f"{beat}add/", f"{beat}{task.pk}/change/", f"{beat}{task.pk}/delete/"):
        assert editor.get(url).status_code == 403, url
        assert editor.post(url, {"task": "mail.greet", "post": "yes"}).status_code == 403, url
    for action in ("warm", "invalidate", "pause", "resume", "audit"):
        answer = editor.post(f"/admin/warmer/job/{action}/", {"only": "popular_posts", "confirmed": "yes"})
        assert answer.status_code == 403, action
    run = WarmingRun.objects.create(
        job="posts", active_job="posts", trigger="command", expires_at=task.date_changed
    )
    for url in ("", f"{run.pk}/change/", f"{run.pk}/progress/", "export.csv"):
        assert editor.get(f"/admin/warmer/warmingrun/{url}").status_code == 403, url
    assert editor.post(f"/admin/warmer/warmingrun/{run.pk}/cancel/").status_code == 403
    assert editor.get("/admin/warmer/cacheaudit/").status_code == 403
    assert list(others.values()) == before
    assert cache.get("popular_posts") == ["kept"]
    assert WarmingRun.objects.get().state == "queued"
    assert not CacheAudit.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    "name", ["nothing", "warm posts", "warmer: close stalled runs", "..", "%2e%2e", "posts%00"]
)
def test_unknown_job_is_404(editor: Client, name: str) -> None:
    before = list(PeriodicTask.objects.order_by("id").values())
    for url in (f"/admin/warmer/job/{name}/schedule/", f"/admin/warmer/job/{name}/schedule/reset/"):
        assert editor.post(url, interval(2)).status_code == 404, url
    assert list(PeriodicTask.objects.order_by("id").values()) == before


def test_entry_that_somebody_made_run_something_else_is_left_alone(editor: Client) -> None:
    PeriodicTask.objects.filter(name="warm posts").update(task="mail.greet")
    before = PeriodicTask.objects.filter(name="warm posts").values().get()
    for url in (PAGE, RESET):
        page = editor.post(url, interval(2), follow=True).content.decode()
        assert "no longer runs this job" in page
        assert 'name="number"' not in page
    assert PeriodicTask.objects.filter(name="warm posts").values().get() == before


def test_job_that_is_not_scheduled_has_no_form(editor: Client) -> None:
    warm("loose", name="loose", every=None)(lambda: 1)
    url = "/admin/warmer/job/loose/schedule/"
    assert 'name="number"' not in editor.get(url).content.decode()
    page = editor.post(url, interval(2), follow=True).content.decode()
    assert "Not scheduled: loose" in page
    assert not PeriodicTask.objects.filter(name="warm loose").exists()


def test_entry_that_is_missing_is_made_by_saving(editor: Client) -> None:
    warm("fresh", name="fresh", every=timedelta(minutes=10))(lambda: 1)
    url = "/admin/warmer/job/fresh/schedule/"
    assert "saving makes the entry" in editor.get(url).content.decode()
    editor.post(url, interval(5))
    assert (entry("fresh").interval.every, entry("fresh").args) == (5, '["fresh"]')


def test_page__has_no_more_queries_with_many_runs(operator: Client) -> None:
    def count() -> int:
        operator.get(PAGE)
        with CaptureQueriesContext(connection) as queries:
            operator.get(PAGE)
        return len(queries)

    few = count()
    now = entry().date_changed
    WarmingRun.objects.bulk_create(
        WarmingRun(job="posts", trigger="schedule", state="complete", requested_at=now, expires_at=now)
        for _ in range(100)
    )
    operator.post("/admin/warmer/job/pause/", {"only": "posts"})
    assert count() <= few
    assert few <= 12


def test_page__buttons_are_those_that_make_sense(operator: Client) -> None:
    def actions() -> set[str]:
        page: Any = operator.get(PAGE).content.decode()
        return {
            name for name in ("warm", "audit", "pause", "resume", "invalidate") if f'job/{name}/"' in page
        }

    assert actions() == {"warm", "audit", "pause", "invalidate"}
    operator.post("/admin/warmer/job/pause/", {"only": "posts"})
    assert actions() == {"warm", "audit", "resume", "invalidate"}


def test_log__entry_leads_to_the_job_whatever_its_name(editor: Client) -> None:
    warm("x", name="under_scored-and.dotted", timeout=timedelta(hours=1))(lambda: 1)
    page = "/admin/warmer/job/under_scored-and.dotted/schedule/"
    log_job(
        LogEntry.user.field.related_model.objects.get(), jobs["under_scored-and.dotted"].spec, "Did it.", ""
    )
    found = str(LogEntry.objects.get().get_admin_url())
    assert editor.get(found)["Location"] == page
    assert editor.get("/admin/warmer/job/no_such/change/").status_code == 404


def test_log__entry_needs_the_permission_to_see_jobs(log_in: Callable[..., Client]) -> None:
    assert log_in("view_warmingrun").get("/admin/warmer/job/posts/change/").status_code == 403
