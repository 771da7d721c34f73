"""Runs that wait, expire or are lost: what is seen then."""

import logging
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from myapp.models import Post
from tests.package.doctor.support import Serve
from tests.project.operations.page import Page
from tests.project.operations.terminal import CacheAt, doctor, excerpt, logged, manage, states
from tests.support.processes import run_code
from tests.support.scraping import scrape
from warmer import tasks
from warmer.models import Trigger, WarmingRun

pytestmark = pytest.mark.django_db(transaction=True)

# A worker that is killed when it has loaded a batch.
KILLED = """
import django, os, signal
django.setup()
from warmer import failpoints, jobs, runs
from warmer.runs.execution import execute
failpoints.hooks["loaded"] = lambda job: os.kill(os.getpid(), signal.SIGKILL)
execute(jobs["posts"].spec, runs.open_run("posts", "schedule").run, worker="celery@worker-1")
"""


def test_no_worker(page: Page, cache_at: CacheAt, serve: Serve, broker_at: Callable[..., Any], post: Post) -> None:
    cache_at()
    broker_at(serve().url())
    run = tasks.request_run("posts", Trigger.SCHEDULE).run
    assert run.state == "queued"
    assert states()["posts"] == "queued"
    PeriodicTask.objects.update(date_changed=timezone.now() - timedelta(minutes=6))
    page.shows("no-worker-doctor", doctor("workers", "beat"))
    WarmingRun.objects.update(requested_at=timezone.now() - timedelta(minutes=5))
    assert (scrape()("queue_wait_seconds", job="posts") or 0) > 120


def test_expired_and_lost(page: Page, cache_at: CacheAt, post: Post, caplog: pytest.LogCaptureFixture) -> None:
    server = cache_at()
    assert run_code(KILLED, REDIS_URL=server.url()).returncode == -signal.SIGKILL
    WarmingRun.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=11))
    WarmingRun.objects.create(  # nobody took it
        job="user_profiles",
        active_job="user_profiles",
        trigger=Trigger.SCHEDULE,
        requested_at=timezone.now() - timedelta(minutes=20),
        expires_at=timezone.now() - timedelta(minutes=5),
    )
    caplog.set_level(logging.INFO, "warmer.apps")
    caplog.clear()
    assert tasks.close_stalled_runs() == 2
    page.shows("ended-log", logged(caplog.records, "warmer.apps"), varies=[r"run (\d+) of", r"queries, ([\d.]+) s"])
    page.shows("ended-list", excerpt(manage("warm_cache --list"), "job ", "---", "user_profiles", "posts"))
    assert scrape()("last_run_state", job="posts", state="lost") == 1
    assert states() == {"posts": "failed", "user_profiles": "failed", "popular_posts": "unknown"}
    assert "complete" in page.manage("warm_cache --inline")
