"""What the browser tests have in common: the site's settings, permissions, and how to read a page."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

from warmer.models import State, Trigger, WarmingRun

SITE = pytest.mark.environment(EXTRA_APPS="tests.system.slowapp", EXTRA_MIDDLEWARE="tests.system.policy.StrictPolicy")
PASSWORD = "a password"
WIDE, NARROW = 1280, 390
EVERYTHING = (
    *("view_job", "view_warmingrun", "view_cacheaudit"),
    *("warm_job", "invalidate_job", "pause_job", "audit_job", "edit_schedule", "cancel_run"),
)


def log_in(page: Page, name: str = "olga") -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def row_of(page: Page, job: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=job, exact=True))


def state_of(page: Page, job: str) -> str:
    return row_of(page, job).locator(".warmer-state").inner_text()


def make_run(job: str, state: str = State.QUEUED, **columns: Any) -> WarmingRun:
    """Put a run in; an active one is that of its job."""
    defaults: dict[str, Any] = {"trigger": Trigger.COMMAND, "expires_at": "2099-01-01T00:00:00Z"}
    if state in (State.QUEUED, State.RUNNING):
        defaults["active_job"] = job
    return WarmingRun.objects.create(job=job, state=state, **defaults | columns)


def last_run(job: str) -> WarmingRun:
    return WarmingRun.objects.filter(job=job).latest("id")


def check_layout(page: Page) -> None:
    """Check that a page fits its window, and that what it has to operate has a name."""
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width, page.url
    for script in (_CUT_OFF, _SCROLLS, _SAME_ID, _WITHOUT_NAME):
        assert page.evaluate(script, width) == [], page.url


def check_red(page: Page) -> None:
    """Check that all that is red says so in words, and leads to a section that the runbook has."""
    runbook = page.request.get("/admin/warmer/job/runbook/").text()
    unlike = page.evaluate(_RED, re.findall(r' id="([\w-]+)"', runbook))
    assert unlike == [], unlike


# Of our own part of a page: what reaches past the window, and is not meant only for screen readers.
_CUT_OFF = """width => [...document.querySelectorAll("#content-main *")]
  .filter(one => one.checkVisibility() && !one.closest(".visually-hidden, thead"))
  .filter(one => one.getBoundingClientRect().right > width + 1)
  .map(one => one.outerHTML.slice(0, 120))"""
# What is wider than the box that scrolls it.
_SCROLLS = """() => [...document.querySelectorAll("#content *")]
  .filter(one => one.checkVisibility() && getComputedStyle(one).overflowX !== "visible")
  .filter(one => !one.closest(".visually-hidden, thead") && one.scrollWidth > one.clientWidth + 1)
  .map(one => `${one.scrollWidth} in ${one.clientWidth}: ${one.outerHTML.slice(0, 120)}`)"""
_SAME_ID = """() => [...document.querySelectorAll("[id]")].map(one => one.id)
  .filter((id, at, all) => all.indexOf(id) !== at)"""
_WITHOUT_NAME = """() => [...document.querySelectorAll("#content-main :is(input, button, select, summary)")]
  .filter(one => one.type !== "hidden")
  .filter(one => one.checkVisibility())
  .filter(one => !(one.getAttribute("aria-label") || (one.type === "submit" && one.value)
    || (one.matches("button, summary") && one.textContent.trim())
    || [...(one.labels || [])].some(label => label.textContent.trim() || label.querySelector("img[alt]"))))
  .map(one => one.outerHTML.slice(0, 120))"""
# What is red only by its colour, or has no link to a section.
_RED = """sections => [...document.querySelectorAll(
    ".warmer-health-problem, .warmer-health-warning, .warmer-alert")]
  .filter(one => !/(Problem|Warning|Critical):/.test(one.textContent) && !one.matches(".warmer-alert")
    || !sections.includes(one.querySelector("a[href*='/runbook/#']")?.hash.slice(1)))
  .map(one => one.outerHTML.slice(0, 300))"""
