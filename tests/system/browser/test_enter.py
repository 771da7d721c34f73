"""Enter in a field of a form with several buttons: it presses none of them, with scripts and without."""

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Page, Request, expect

from tests.system.browser.pages import EVERYTHING, MARKS
from warmer.models import WarmingRun

pytestmark = MARKS
OVERVIEW, JOB = "/admin/warmer/", "/admin/warmer/job/posts/change/"


@pytest.mark.parametrize("scripts", [True, False])
def test_enter__in_a_field_presses_no_button__on_a_button_that_one(
    open_page: Callable[..., Page], scripts: bool
) -> None:
    page = open_page(*EVERYTHING, scripts=scripts)
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    for address in (OVERVIEW, JOB):
        page.goto(address)
        boxes = page.locator("form:has(#warmer-why) input[type=checkbox]")
        count = boxes.count()
        assert count > 3 or address == JOB
        page.get_by_label("Reason (optional, for the log").fill("before the sale")
        page.keyboard.press("Enter")
        for at in range(count):
            boxes.nth(at).focus()
            page.keyboard.press("Enter")
    # What had been sent would have been answered before this is.
    page.goto(OVERVIEW)
    assert sent == []
    assert not WarmingRun.objects.exists()
    assert not LogEntry.objects.exists()
    if not scripts:
        return  # a page without scripts does not tell what has the focus

    for address in (OVERVIEW, JOB):
        page.goto(address)
        if address == OVERVIEW:
            page.get_by_role("checkbox", name="Select posts").check()
        page.get_by_label("Reason (optional, for the log").fill("load")
        reached = []
        for _ in range(4):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        assert reached == ["Warm now", "Audit", "Audit and repair", "Pause"]
        page.keyboard.press("Enter")
        expect(page.get_by_text("Paused posts:")).to_be_visible()
        assert LogEntry.objects.get().change_message == "Paused the schedule. Reason: load"
        LogEntry.objects.all().delete()
        PeriodicTask.objects.update(enabled=True)
