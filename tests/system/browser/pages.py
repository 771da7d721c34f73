"""What the browser tests have in common: marks, permissions, and how to read a page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page

from warmer.models import WarmingRun

MARKS = [
    pytest.mark.system,
    pytest.mark.environment(
        EXTRA_APPS="tests.system.slowapp",
        EXTRA_MIDDLEWARE="tests.system.policy.StrictPolicy",
    ),
]
PASSWORD = "a password"
WIDE, NARROW = 1280, 390
EVERYTHING = (
    *("view_job", "view_warmingrun", "view_cacheaudit"),
    *("warm_job", "invalidate_job", "pause_job", "audit_job", "edit_schedule", "cancel_run"),
)


def log_in(page: Page, name: str = "olga") -> None:
    """Fill in and send the page of the log-in."""
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def row_of(page: Page, job: str) -> Locator:
    """Return a job's row on the overview."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=job, exact=True))


def state_of(page: Page, job: str) -> str:
    """Return a job's state on the overview."""
    return row_of(page, job).locator(".warmer-state").inner_text()


def last_run(job: str) -> WarmingRun:
    """Return the newest run of a job."""
    return WarmingRun.objects.filter(job=job).latest("id")
