"""The health strip in a real outage: it follows without a reload, and leads to the runbook."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Locator, Page, expect

from embedded.redis_server import RedisServer
from tests.system.browser.pages import EVERYTHING, MARKS
from tests.system.nodes import Worker
from warmer.models import JobObservation

pytestmark = [*MARKS, pytest.mark.environment(CACHE_TIMEOUT_SECONDS=1)]


def test_strip__follows_an_outage(
    open_page: Callable[..., Page], worker: Worker, redis_server: RedisServer
) -> None:
    def observed(ago: timedelta) -> None:
        at = timezone.now() - ago
        PeriodicTask.objects.update(last_run_at=at)
        JobObservation.objects.update_or_create(job="posts", defaults={"attempted_at": at})

    def item(label: str) -> Locator:
        return strip.locator("dl > div").filter(has=page.get_by_text(label, exact=True))

    observed(timedelta(seconds=20))
    page = open_page(*EVERYTHING)
    page.clock.install()
    page.reload()
    strip = page.get_by_role("region", name="Health")
    expect(strip.locator("dl > :not(.warmer-health-ok)")).to_have_count(0)
    expect(item("Queue warming")).to_contain_text("1 worker")

    worker.kill()
    redis_server.pause()
    observed(timedelta(minutes=7))
    shown = {
        "Queue warming": "Problem: No worker answers",
        "Beat": "Problem: Nothing is refreshed on schedule.",
        "Cache default": "Problem: The cache does not answer (TimeoutError)",
    }
    for label, text in shown.items():
        page.clock.fast_forward(10_000)
        expect(item(label)).to_contain_text(text)
    expect(strip.get_by_role("link", name="WarmerCacheDown")).to_be_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 1280

    strip.get_by_role("link", name="What to do: Cache default").click()
    expect(page.get_by_role("heading", name="Cache down: connection refused")).to_be_in_viewport()

    page.go_back()
    redis_server.resume()
    expect(item("Cache default")).to_contain_text("up")
