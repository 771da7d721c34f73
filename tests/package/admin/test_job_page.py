"""A job's page, and the form of its schedule: it grants what it says, and nothing more."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from tests.package.admin.pages import (
    ACTIONS,
    AUDITS,
    JOBS,
    POSTS,
    RUNS,
    act,
    let_beat_run,
    log,
    observation,
    page_of,
    queries_of,
    run_of,
    text_of,
)
from warmer import runs, schedule, warm, warm_many
from warmer.models import JobHour, State, Trigger, WarmingRun
from warmer.schedule import Action

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
PERIODIC = "/admin/django_celery_beat/periodictask/"


def entry(job: str = "posts") -> PeriodicTask:
    return PeriodicTask.objects.select_related("interval", "crontab").get(name=f"warm {job}")


def interval(number: object, unit: str = "minutes", **fields: object) -> dict[str, Any]:
    return {"action": "schedule", "kind": "interval", "number": number, "unit": unit, "enabled": "on", **fields}


def crontab(text: str, **fields: object) -> dict[str, Any]:
    return {"action": "schedule", "kind": "crontab", "crontab": text, "enabled": "on", **fields}


@pytest.fixture
def editor(log_in: Callable[..., Client]) -> Client:
    """A client named `ed` that may set schedules, and do nothing else."""
    return log_in("edit_schedule", username="ed")


def test_page(golden: Callable[..., None], operator: Client, make_post: Any) -> None:
    run = run_of("posts", State.FAILED, seconds=1.5)
    hours = {"hits_hour": 3, "misses_hour": 1, "hits_day": 9_999, "misses_day": 1, "overtaken_hour": 0.9}
    watched = {"watched": 200, "watched_read": 30, "watched_share": 0.5, "watched_misses": 7}
    observation("posts", cached=3, **hours, **watched)
    reads = {"hits": 3, "misses": 1}
    JobHour.objects.put("posts", timezone.now(), observed=2, coverage_sum=1.5, coverage_min=0.5, pending_max=7, **reads)
    operator.post(POSTS, interval(2, enabled="", why="news day"))
    act(operator, "audit posts")
    let_beat_run()
    odd = {"every": None, "negative_timeout": timedelta(minutes=5), "max_batches_per_second": 2.5, "required": False}
    more: Any = {"refresh_below": 0.5, "on_change": "refresh", "batch_size": 1}
    warm_many("x:{id}", ids=list, name="x", **odd, **more)(dict.fromkeys)
    texts = [text_of(operator.get(f"{JOBS}{name}/change/").content.decode()) for name in ("posts", "x")]
    masks = {
        rf"\b{run.pk}\b": "N",
        r"\d{4}-\d\d-\d\d \d\d:\d\d": "TIME",
        r"\d+ s ago": "N s ago",
        r"(\.py|test_\w+):\d+": r"\1:N",
        r"\b[A-Z][a-z]{2} \d\d:\d\d\b": "HOUR",
        r"\b\d\d:00( \d\d:00)*": "TICKS",
    }
    golden("admin_job", "\n\n".join(texts), masks=masks)


def test_page__buttons_are_those_that_make_sense(operator: Client) -> None:
    def shown() -> set[str]:
        page = operator.get(POSTS).content.decode()
        return {name for name in ACTIONS if f'name="action" value="{name}"' in page}

    assert shown() == {"warm", "audit", "repair", "pause", "invalidate"}
    act(operator, "pause posts")
    assert shown() == {"warm", "audit", "repair", "resume", "invalidate"}


def test_page__queries_do_not_grow_with_runs_and_hours(operator: Client) -> None:
    run_of("posts")
    act(operator, "pause posts")
    operator.get(POSTS)  # what is looked up once a process
    few = queries_of(operator, POSTS, span="week", id="1")
    for number in range(100):
        run_of("posts")
        JobHour.objects.put("posts", timezone.now() - timedelta(hours=number), hits=1)
    assert queries_of(operator, POSTS, span="week", id="1") == few <= 18


def test_set__interval_with_who_and_why(editor: Client) -> None:
    answer = editor.post(POSTS, interval(90, "seconds", why="more traffic"), follow=True)
    assert answer.redirect_chain == [(POSTS, 302)]
    assert (entry().interval.every, entry().interval.period, entry().enabled) == (90, "seconds", True)
    said = "Schedule: every 1 min 30 s (before: every 15 min). Reason: more traffic"
    assert log() == [("ed", "posts", said)]


def test_set__crontab_is_kept_by_a_sync_and_shown(editor: Client) -> None:
    editor.post(POSTS, crontab("*/20 8-18 * * mon-fri"))
    assert schedule.sync()["posts"] is Action.EDITED
    assert (entry().crontab.minute, entry().interval) == ("*/20", None)
    assert log()[-1][2] == "Schedule: */20 8-18 * * mon-fri UTC (before: every 15 min)."
    page = editor.get(POSTS).content.decode()
    assert 'value="*/20 8-18 * * mon-fri"' in page
    assert "(set by an operator)" in page
    assert "*/20" in editor.get("/admin/warmer/").content.decode()


@pytest.mark.parametrize(
    "data",
    [
        *[interval(29, "seconds"), interval(1, "hours"), interval(5, "fortnights"), interval("")],
        *[crontab("0 * * * *"), crontab("<b> * * * *"), {"action": "schedule"}],
    ],
)
def test_set__out_of_bounds_is_refused_at_its_field(editor: Client, data: dict[str, object]) -> None:
    before = PeriodicTask.objects.filter(name="warm posts").values().get()
    answer = editor.post(POSTS, data)
    assert answer.status_code == 200
    errors = answer.context["form"].errors
    kind = data.get("kind")
    assert set(errors) & ({"number", "unit"} if kind == "interval" else {"crontab", "kind"})
    page = answer.content.decode()
    assert 'class="errorlist"' in page
    assert "<b>" not in page
    assert PeriodicTask.objects.filter(name="warm posts").values().get() == before
    assert not LogEntry.objects.exists()


def test_reset__is_the_declared_schedule_again(editor: Client) -> None:
    editor.post(POSTS, crontab("*/20 * * * *", enabled=""))
    editor.post(POSTS, {"action": "reset", "why": "as before"})
    assert (entry().interval.every, entry().crontab, entry().enabled) == (15, None, True)
    assert log()[-1][2].startswith("Schedule: every 15 min (before: ")
    assert log()[-1][2].endswith(", paused). Reason: as before")
    assert "(as declared)" in editor.get(POSTS).content.decode()


def test_set__changes_nothing_but_the_timing_of_the_job(editor: Client) -> None:
    """What a request says of tasks, arguments, names and queues is ignored."""
    tables: Any = (PeriodicTask.objects.exclude(name="warm posts"), CrontabSchedule.objects, IntervalSchedule.objects)
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
    assert editor.post(POSTS, interval(15, **hostile)).status_code == 302
    assert editor.post(POSTS, {"action": "reset", **hostile}).status_code == 302
    assert PeriodicTask.objects.filter(name="warm posts").values(*fields).get() == kept
    assert [list(table.order_by("id").values()) for table in tables] == before


def test_permission__opens_no_other_door(editor: Client) -> None:
    task = entry()
    before = list(PeriodicTask.objects.order_by("id").values())
    run = runs.open_run("posts", Trigger.COMMAND).run
    for url in (PERIODIC, f"{PERIODIC}add/", f"{PERIODIC}{task.pk}/change/", f"{PERIODIC}{task.pk}/delete/"):
        assert editor.get(url).status_code == 403, url
        assert editor.post(url, {"task": "mail.greet", "post": "yes"}).status_code == 403, url
    for action in ACTIONS:
        assert act(editor, f"{action} popular_posts", confirmed="yes").status_code == 403, action
    for url in (RUNS, f"{RUNS}{run.pk}/change/", f"{RUNS}export.csv", AUDITS):
        assert editor.get(url).status_code == 403, url
    assert editor.post(f"{RUNS}{run.pk}/change/", {"action": "cancel"}).status_code == 403
    assert list(PeriodicTask.objects.order_by("id").values()) == before
    assert WarmingRun.objects.get().state == State.QUEUED
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("name", ["nothing", "warm posts", "warmer: close stalled runs", "..", "%2e%2e", "posts%00"])
def test_unknown_job__is_404(editor: Client, name: str) -> None:
    before = list(PeriodicTask.objects.order_by("id").values())
    url = f"{JOBS}{name}/change/"
    assert editor.get(url).status_code == editor.post(url, interval(2)).status_code == 404
    assert list(PeriodicTask.objects.order_by("id").values()) == before


def test_entry__that_runs_something_else_is_left_alone(editor: Client) -> None:
    PeriodicTask.objects.filter(name="warm posts").update(task="mail.greet")
    before = PeriodicTask.objects.filter(name="warm posts").values().get()
    for data in (interval(2), {"action": "reset"}):
        page = editor.post(POSTS, data, follow=True).content.decode()
        assert "no longer runs this job" in page
    assert PeriodicTask.objects.filter(name="warm posts").values().get() == before


@pytest.mark.parametrize("name", ["under_scored-and.dotted", "top_10"])
def test_log__entry_leads_to_the_job_whatever_its_name(operator: Client, name: str) -> None:
    warm("x", name=name, timeout=timedelta(hours=1))(lambda: 1)
    act(operator, f"pause {name}")
    quoted = str(LogEntry.objects.get().get_admin_url())
    for url in (quoted, f"{JOBS}{name}/change/"):
        assert f"Job {name}" in operator.get(url).content.decode()


def test_log__names_what_happened_to_the_job_and_its_runs(operator: Client) -> None:
    mine, other = (runs.open_run(job, Trigger.COMMAND).run for job in ("posts", "popular_posts"))
    for run in (mine, other):
        operator.post(f"{RUNS}{run.pk}/change/", {"action": "cancel", "why": f"too slow: {run.job}"})
    act(operator, "warm posts")
    page = operator.get(POSTS).content.decode()
    shown = page[page.index('id="log"') :]
    assert "<strong>olga</strong>: Requested run " in shown
    assert f"<strong>olga</strong>: Cancelled run {mine.pk}. Reason: too slow: posts" in shown
    assert "popular_posts" not in shown
    assert "Cancelled" in page_of(operator, mine)
