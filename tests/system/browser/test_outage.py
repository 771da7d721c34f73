"""The pages in real outages: they follow without a reload, say what stands still, and lead to the runbook."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Locator, Page, expect
from redis import Redis

from embedded.redis_server import RedisServer
from tests.system.browser.pages import EVERYTHING, NARROW, SITE, WIDE, check_layout, check_red, row_of
from tests.system.nodes import Worker
from tests.system.project import Project
from tests.system.slowapp import gate
from warmer.doctor.checks.celery import LONG_QUEUE
from warmer.models import JobObservation

pytestmark = [
    pytest.mark.environment(
        CACHE_TIMEOUT_SECONDS=1, EXTRA_MIDDLEWARE="tests.system.policy.StrictPolicy,tests.system.policy.FreshAnswers"
    ),
    SITE,
]


def observed(**ago: float) -> None:
    """Let beat and the workers have done their last work so long ago."""
    at = timezone.now() - timedelta(**ago)
    PeriodicTask.objects.update(last_run_at=at)
    JobObservation.objects.update_or_create(job="posts", defaults={"attempted_at": at})


def open_overview(open_page: Callable[..., Page], width: int) -> Page:
    """Return the overview, which updates itself every second."""
    page = open_page(*EVERYTHING, width=width)
    page.add_init_script("const wait = setTimeout; window.setTimeout = (what, time) => wait(what, time / 10)")
    page.reload()
    return page


def item(page: Page, label: str) -> Locator:
    return page.locator(".warmer-health dl > div").filter(has=page.get_by_text(label, exact=True))


def expect_health(page: Page) -> None:
    expect(page.locator(".warmer-health dl > :not(.warmer-health-ok)")).to_have_count(0)


def expect_section(page: Page, label: str, heading: str) -> None:
    """Follow an item's link to the runbook, and come back."""
    page.get_by_role("link", name=f"What to do: {label}").click()
    expect(page.get_by_role("heading", name=heading)).to_be_in_viewport()
    page.go_back()


def test_outage__of_workers_and_beat__then_a_failed_run_and_a_full_queue(
    open_page: Callable[..., Page], project: Project, request: pytest.FixtureRequest
) -> None:
    gate.hold(*gate.IDS)
    observed(minutes=7)
    page = open_overview(open_page, WIDE)
    page.get_by_role("button", name="Warm slow_items now").click()
    expect(page.locator(".warmer-state").first).to_have_text("queued")
    page.goto("/admin/warmer/")
    queue, state = item(page, "Queue warming"), row_of(page, "slow_items").locator(".warmer-state")
    expect(queue).to_contain_text("0 workers 1 message")
    expect(queue).to_contain_text("Problem: No worker answers, so runs wait.")
    expect(item(page, "Beat")).to_contain_text("Problem: Nothing is refreshed on schedule.")
    expect(row_of(page, "posts")).to_contain_text("no next run: beat is silent")
    expect(state).to_have_text("queued")
    check_red(page)
    expect_section(page, "Queue warming", "Runs are stuck, expired or lost")

    request.getfixturevalue("worker")
    observed(seconds=20)
    expect(queue).to_contain_text("1 worker")
    expect_health(page)
    expect(row_of(page, "posts")).to_contain_text("next run in ")
    expect(state).to_have_text("running")
    gate.await_loads(*gate.BATCHES[0], *gate.BATCHES[1])  # the worker's two processes stand at the gate
    for _ in range(LONG_QUEUE + 20):  # it fetches a few
        project.send("celery.backend_cleanup", queue="warming")
    expect(queue).to_contain_text("Warning: Messages pile up")
    check_red(page)
    with Redis.from_url(project.environment["CELERY_BROKER_URL"]) as broker:
        broker.delete("warming")
    gate.release()
    expect(state).to_have_text("warm")
    expect_health(page)

    gate.break_loaders()
    page.get_by_role("button", name="Warm slow_one now").click()
    expect(page.locator(".warmer-state").first).to_have_text("failed")
    expect(page.get_by_text("ValueError: broken by the test").first).to_be_visible()
    page.goto("/admin/warmer/")
    expect(page.locator("tr[data-warmer-job]").first).to_contain_text(re.compile("slow_one.*failed", re.DOTALL))


def test_outage__of_the_cache__killed_then_frozen_with_the_worker(
    open_page: Callable[..., Page], worker: Worker, redis_server: RedisServer
) -> None:
    observed(seconds=20)
    page = open_overview(open_page, NARROW)
    cache, queue = item(page, "Cache default"), item(page, "Queue warming")
    expect(queue).to_contain_text("1 worker")
    expect_health(page)

    redis_server.kill()
    expect(cache).to_contain_text("Problem: The cache does not answer (ConnectionError)")
    expect(page.get_by_role("link", name="WarmerCacheDown")).to_be_visible()
    check_red(page)
    check_layout(page)
    expect_section(page, "Cache default", "Cache down: connection refused")
    redis_server.start()
    expect_health(page)

    redis_server.pause()
    worker.kill()
    observed(minutes=7)
    expect(cache).to_contain_text("Problem: The cache does not answer (TimeoutError)")
    expect(queue).to_contain_text("Problem: No worker answers, so runs wait.")
    check_red(page)
    check_layout(page)
    redis_server.resume()
    expect(cache).to_contain_text("up")
    expect(queue).to_contain_text("0 workers")
