"""The broker hangs, runs wait or are lost, values are old: what is seen then, and that the page's fixes help."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.package.admin.pages import act
from tests.package.doctor.support import Serve
from tests.project.operations.page import CacheAt, Page, doctor, excerpt, logged, manage, states
from tests.support.others import in_a_fork
from tests.support.scraping import scrape
from tests.support.waiting import without_triggers
from users.models import CustomUser
from warmer import failpoints, invalidate_for, jobs, runs, tasks
from warmer.models import Trigger, WarmingRun
from warmer.runs.execution import execute

pytestmark = pytest.mark.django_db(transaction=True)


# -- the broker ---------------------------------------------------------------------------------------
@pytest.fixture
def broker(
    page: Page, warm_cache_at: CacheAt, serve: Serve, broker_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> RedisServer:
    """A broker that hangs; the page names it as it does the cache elsewhere."""
    monkeypatch.setattr(tasks.broker, "BROKER_SECONDS", 0.5)
    warm_cache_at()
    server = serve()
    broker_at(server.url(1))
    page.server = server
    server.pause()
    return server


def test_broker_hanging(
    page: Page, broker: RedisServer, operator: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.shows("broker-doctor", doctor("broker"))
    tasks.broker.forget()
    page.shows("broker-workers", manage("warm_cache --workers"))
    tasks.broker.forget()
    page.shows("broker-here", excerpt(manage("warm_cache"), "Warming in this process"))
    tasks.broker.forget()
    caplog.set_level(logging.WARNING, "warmer.tasks")
    caplog.clear()
    run = tasks.request_run("posts", Trigger.SCHEDULE).run
    page.shows("broker-log", logged(caplog.records, "warmer.tasks"), varies=[r"send run (\d+) of"])
    assert run.state == "failed"
    answer = act(operator, "warm posts", follow=True)
    assert "The broker does not answer" in " ".join(map(str, answer.context["messages"]))

    broker.resume()
    monkeypatch.setattr(tasks.broker, "BROKER_SECONDS", 20.0)
    tasks.broker.forget()
    assert "CommandError: 1 error: workers" in page.manage("cache_doctor")  # there are none here
    assert "complete" in page.manage("warm_cache")
    assert WarmingRun.objects.latest("id").state == "complete"


# -- runs ---------------------------------------------------------------------------------------------
def be_killed_amid_a_run() -> None:
    """Do what a worker does that is killed when it has loaded a batch."""
    failpoints.hooks["loaded"] = lambda job: os.kill(os.getpid(), signal.SIGKILL)
    execute(jobs["posts"].spec, runs.open_run("posts", Trigger.SCHEDULE).run, worker="celery@worker-1")


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
    cache_at()
    connection.close()  # the child opens its own
    assert in_a_fork(be_killed_amid_a_run) == -signal.SIGKILL
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


# -- old values ---------------------------------------------------------------------------------------
@pytest.fixture
def no_triggers() -> Iterator[None]:
    """The database has lost them."""
    with without_triggers():
        yield


def rename(name: str) -> None:
    """Change a row by SQL, of which Django sends no signal."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users_customuser SET last_name = %s WHERE id = 42", [name])


def shown_name() -> str:
    body = Client().get("/users/42/").content.decode()
    (name,) = (name for name in ("Ada Old", "Ada New") if name in body)
    return name


def test_stale(
    page: Page,
    warm_cache_at: CacheAt,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    operator: Client,
    no_triggers: None,
) -> None:
    warm_cache_at()
    rename("New")
    assert shown_name() == "Ada Old"
    page.shows("stale-audit", manage("cache_audit"))
    settings.WARMER_AUDIT_SAMPLE = 500
    caplog.clear()
    tasks.audit_job("user_profiles", "schedule")
    page.shows("stale-log", logged(caplog.records, "warmer.tasks"))
    assert scrape()("audit_keys", job="user_profiles", outcome="wrong") == 1
    assert "1 wrong" in operator.get("/admin/warmer/").content.decode()

    page.shows("stale-repair", page.manage("cache_audit user_profiles --repair"))
    assert shown_name() == "Ada New"
    assert "CommandError" not in manage("cache_audit")


def test_stale__database_has_lost_its_triggers(page: Page, warm_cache_at: CacheAt, no_triggers: None) -> None:
    warm_cache_at()
    rename("New")
    assert shown_name() == "Ada Old"
    page.shows("stale-doctor", doctor("capture"))
    page.manage("warm_triggers")
    assert shown_name() == "Ada New"  # what was missed is invalidated, too
    rename("Old")
    assert shown_name() == "Ada Old"


def test_stale__told_is_not_stale(warm_cache_at: CacheAt, no_triggers: None) -> None:
    """The cure that the page gives for the code."""
    warm_cache_at()
    with transaction.atomic():
        rename("New")
        invalidate_for(CustomUser.objects.filter(pk=42))
    assert shown_name() == "Ada New"
