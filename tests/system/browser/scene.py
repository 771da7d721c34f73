"""What the screenshots show: runs, an audit and a schedule as an operator might meet them."""

from datetime import timedelta
from random import Random
from typing import Any

from django.core.cache import cache
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from tests.system.browser.pages import make_run
from users.models import CustomUser
from warmer import jobs
from warmer import runs as ledger
from warmer.filling.loading import find_ids
from warmer.models import (
    CacheAudit,
    ChangeRecord,
    JobHour,
    JobObservation,
    State,
    Trigger,
    WarmingRun,
    rows_of,
    start_of_hour,
)
from warmer.monitoring import audit
from warmer.monitoring.observation import observe_all
from warmer.report import Failure, Report

QUARTERS = 24
# Hours ago, of the week that is drawn: beat was down, the cache was restarted, a run failed.
DOWN, RESTARTED, FAILED = range(60, 66), (30, 110), (9, 110)


def history(job: str, keys: int, seconds: float, worker: str) -> None:
    """Put in the runs of the last hours: every one complete, but for two."""
    random = Random(job)
    for number in range(QUARTERS, 0, -1):
        asked = timezone.now() - timedelta(minutes=15 * number)
        took = timedelta(seconds=seconds * random.uniform(0.7, 1.4))
        state, failed, error = State.COMPLETE, 0, ""
        if keys > 1 and number == QUARTERS // 3:
            state, failed, error = State.INCOMPLETE, 2, f"2 of {keys} keys failed."
        if keys > 1 and number == QUARTERS // 4:
            state, error = State.LOST, "Its worker was lost."
        begun, ended = ("requested_at", "started_at"), ("heartbeat_at", "finished_at")
        counts = dict.fromkeys(("attempt", "batches_total", "batches_done"), 1) | {"queries": 2}
        columns: dict[str, Any] = dict.fromkeys(begun, asked) | dict.fromkeys(ended, asked + took) | counts
        columns |= {"written": keys - failed, "failed": failed, "seconds": took.total_seconds(), "error": error}
        make_run(job, state, trigger=Trigger.SCHEDULE, worker=worker, expires_at=asked, **columns)


def hours(job: str, seconds: float, reads: int) -> None:
    """Put in the hours of a week, busier by day than by night."""
    random = Random(job)
    for ago in range(7 * 24):
        hour = start_of_hour(timezone.now()) - timedelta(hours=ago)
        if ago in DOWN:
            continue
        lowest = 0.0 if ago in RESTARTED else random.choice((1.0, 1.0, 0.97))
        daily = round(reads * (0.3 if timezone.localtime(hour).hour < 7 else random.uniform(0.8, 1.2)))
        missed = round(daily * (0.12 if ago in RESTARTED else random.uniform(0.001, 0.01)))
        JobHour.objects.update_or_create(
            job=job,
            hour=hour,
            defaults={
                "observed": 60,
                "coverage_sum": 60 * (0.2 * lowest + 0.8),
                "coverage_min": lowest,
                "pending_max": random.choice((0, 0, 1, 2)) + (40 if ago in RESTARTED else 0),
                "hits": daily - missed,
                "misses": missed,
                "runs": 4,
                "failed_runs": int(ago in FAILED),
                "run_seconds": 4 * seconds * random.uniform(0.8, 1.3),
            },
        )


def failed_run(job: str, user: CustomUser, worker: str) -> None:
    run = ledger.start(ledger.open_run(job, Trigger.ADMIN, user=user).run.pk, worker=worker)
    assert run is not None
    WarmingRun.objects.filter(pk=run.pk).update(started_at=timezone.now() - timedelta(seconds=0.33))
    failures = tuple(
        Failure(key=f"user:{id}:profile", error="ValueError: invalid literal for int() with base 10: 'n/a'")
        for id in (17, 42)
    )
    report = Report(
        job=job,
        written=96,
        no_value=2,
        failed=2,
        queries=14,
        seconds=0.31,
        load_seconds=0.262,
        encode_seconds=0.004,
        write_seconds=0.021,
        batches=1,
        failures=failures,
    )
    ledger.record_batches(run, {1: report}, worker=worker)
    ledger.expect(run, batches=1, report=Report(job=job, queries=1))


def running_run(job: str, user: CustomUser) -> None:
    """Put in a run that is under way, with six of ten batches done by two workers."""
    run = ledger.start(ledger.open_run(job, Trigger.ADMIN, user=user).run.pk, worker="first@example")
    assert run is not None
    began = timezone.now() - timedelta(seconds=42)
    WarmingRun.objects.filter(pk=run.pk).update(requested_at=began, started_at=began)
    ledger.expect(run, batches=10, report=Report(job=job, queries=1))
    for number in range(1, 7):
        report = Report(
            job=job,
            written=498,
            superseded=2,
            queries=3,
            seconds=6.5,
            load_seconds=5.1,
            encode_seconds=0.3,
            write_seconds=0.6,
            wait_seconds=0.5,
            batches=1,
        )
        ledger.record_batches(run, {number: report}, worker=("first@example", "second@example")[number % 2])


def audits() -> None:
    """Lose some keys, write a wrong value, and audit."""
    audit.perform(jobs["popular_posts"].spec, Trigger.SCHEDULE)
    posts = jobs["posts"].spec
    cached = list(find_ids(posts))
    cache.delete_many([posts.key.key(id) for id in cached[:3]])
    audit.perform(posts, Trigger.SCHEDULE)
    profiles = jobs["user_profiles"].spec
    key = profiles.key.key(next(iter(find_ids(profiles))))
    cache.set(key, cache.get(key) | {"first_name": "Somebody else"}, timeout=3600)
    audit.perform(profiles, Trigger.ADMIN)


def seen() -> None:
    """Put in what beat and the workers saw, and keep them from looking again while the pictures are taken."""
    task = PeriodicTask.objects.get(name="warmer: observe the jobs")
    task.enabled = False
    task.save()
    PeriodicTask.objects.update(last_run_at=timezone.now())
    observe_all(seconds=30)
    for job, hits, misses, read in (
        ("user_profiles", 48_210, 95, 171),
        ("popular_posts", 90_412, 24, 1),
        ("posts", 31_377, 2_810, 64),
    ):
        watched = 1 if job == "popular_posts" else 200
        JobObservation.objects.filter(job=job).update(
            hits_day=hits,
            misses_day=misses,
            hits_hour=hits // 20,
            misses_hour=misses // 30,
            watched=watched,
            watched_read=read,
            watched_share=1.0,
            watched_misses=misses // 200,
        )


def silence(length: timedelta) -> None:
    """Put all of it back by so long, as if beat and the workers had done nothing since."""
    since = timezone.now() - length
    times = {
        JobObservation: ("attempted_at", "observed_at"),
        WarmingRun: ("requested_at", "started_at", "finished_at"),
        CacheAudit: ("started_at", "finished_at"),
    }
    for model, names in times.items():
        rows_of(model).update(**{name: F(name) - length for name in names})
    PeriodicTask.objects.update(last_run_at=since)
    WarmingRun.objects.filter(state=State.RUNNING).update(state=State.QUEUED, started_at=None)
    ChangeRecord.objects.create(source="myapp_post", recorded_at=since)


def set_up(operator: CustomUser, worker: str) -> None:
    history("user_profiles", 100, 0.31, worker)
    history("popular_posts", 1, 0.04, worker)
    history("posts", 5_000, 61, worker)
    failed_run("user_profiles", operator, worker)
    audits()
    seen()
    hours("user_profiles", 0.31, 2_000)
    hours("popular_posts", 0.04, 4_000)
    hours("posts", 61, 1_400)
    running_run("posts", operator)
