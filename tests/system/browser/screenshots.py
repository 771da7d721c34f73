"""Take a picture of each of the admin's pages: wide and narrow, light and dark.

`script/screenshots` runs this file. The suite does not: its name is not that of a test file.
"""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from django.db import connection
from playwright.sync_api import Page

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from myapp.management.commands.sample_data import create
from myapp.sample.build import build
from tests.support.processes import ROOT
from tests.system.browser import scene
from tests.system.browser.pages import EVERYTHING, NARROW, WIDE
from tests.system.nodes import Worker
from tests.system.project import Project
from users.models import CustomUser
from warmer import jobs
from warmer.filling.loading import find_ids
from warmer.models import CacheAudit, WarmingRun

# Whose pages the keys link.
OBJECTS = ("view_post", "view_customuser")
FOLDER = Path(os.environ.get("SCREENSHOTS_FOLDER") or ROOT / "docs" / "images")


def test_take_the_screenshots(
    open_page: Callable[..., Page], project: Project, worker: Worker, redis_server: RedisServer
) -> None:
    with connection.cursor() as cursor:  # the suite's ids begin far from 1
        cursor.execute("DELETE FROM sqlite_sequence")
    create(build())
    project.manage("warm_cache")
    FOLDER.mkdir(parents=True, exist_ok=True)
    pages = {
        "wide": open_page(*EVERYTHING, *OBJECTS, name="otto", width=WIDE),
        "narrow": open_page(*EVERYTHING, *OBJECTS, name="olga", width=NARROW),
    }
    scene.set_up(CustomUser.objects.get(username="olga"), worker.hostname())
    _take(pages, _shots())
    worker.kill()
    redis_server.stop()
    scene.silence(timedelta(minutes=7))
    _await_outage(pages["wide"])
    _take(pages, {"overview-outage": ("", ())})


def _await_outage(page: Page) -> None:
    """Load the overview until it has noticed: for a few seconds pages share what the servers answered."""

    def is_shown() -> bool:
        page.goto("/admin/warmer/")
        return page.get_by_text("No worker answers").count() == 1

    wait_until(is_shown, what="the overview shows the outage")


def _take(pages: Mapping[str, Page], shots: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
    for width, page in pages.items():
        for name, (address, clicks) in shots.items():
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.goto(f"/admin/warmer/{address}")
                for selector in clicks:
                    page.click(selector)
                page.evaluate("window.scrollTo(0, 0)")
                page.screenshot(path=FOLDER / f"{name}-{width}-{scheme}.png", full_page=True)


def _shots() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the address of each page, and what to click on there."""
    run = {run.state: f"warmingrun/{run.pk}/change/" for run in WarmingRun.objects.filter(trigger="admin")}
    audit = CacheAudit.objects.get(job="user_profiles").pk
    cached = next(iter(find_ids(jobs["user_profiles"].spec)))
    invalidate = ("tr:has-text('user_profiles') summary", "button[aria-label='Invalidate user_profiles']")
    return {
        "overview": ("", ()),
        "confirm": ("", invalidate),
        "job": (f"job/user_profiles/change/?span=week&id={cached}", ()),
        "run-running": (run["running"], ()),
        "run-ended": (run["incomplete"], ("summary:text-is('Each batch')",)),
        "runs": ("warmingrun/?job=user_profiles", ()),
        "audits": ("cacheaudit/", ()),
        "audit": (f"cacheaudit/{audit}/change/", ()),
    }
