"""The admin's pages in a real browser, on the real stack: the site, a worker, a broker and a cache.

Every page is served with a strict Content-Security-Policy here, and no test passes with an error in the
browser's console.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from embedded.browser import FLAGS, ensure_browser
from embedded.errors import EmbeddedError
from embedded.ports import free_port
from embedded.waiting import wait_until
from tests.system.longapp import LONG_NAME
from tests.system.nodes import Worker
from tests.system.project import ROOT, SECONDS, Project, reached
from tests.system.slowapp import gate
from users.models import CustomUser
from warmer.models import CacheAudit, State, WarmingRun

pytestmark = [
    pytest.mark.system,
    pytest.mark.environment(
        EXTRA_APPS="tests.system.slowapp,tests.system.longapp",
        EXTRA_MIDDLEWARE="tests.system.policy.StrictPolicy",
    ),
]

PASSWORD = "a password"
WIDE, NARROW = 1280, 390
EVERYTHING = (
    *("view_job", "view_warmingrun", "view_cacheaudit"),
    *("warm_job", "invalidate_job", "pause_job", "audit_job", "edit_schedule", "cancel_run"),
)
# A browser on a busy machine: as long as for anything else here.
expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; without one they fail, and say how to get it."""
    try:
        program = ensure_browser()
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # Playwright's loop runs in this thread, which Django's ORM takes for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def site(environment: Mapping[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of the site, served by a process of its own."""
    port = free_port()
    log = tmp_path / "site.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", "--noreload", "--insecure", f"127.0.0.1:{port}"],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/admin/login/", timeout=SECONDS).close()
        except urllib.error.URLError:
            return False
        return True

    try:
        wait_until(answers, seconds=SECONDS, what="the site answers")
        yield address
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """Return a function that logs a member of the staff in, and returns a page of their browser."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # The status of an answer that a test asks for is no error of the page.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            errors.append(message.text)

    def open_page(*permissions: str, name: str = "olga", width: int = WIDE, scripts: bool = True) -> Page:
        user = CustomUser.objects.create_user(name, f"{name}@example.org", PASSWORD, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        context = browser.new_context(
            base_url=site, viewport={"width": width, "height": 900}, java_script_enabled=scripts
        )
        contexts.append(context)
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto("/admin/login/?next=/admin/warmer/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def state_of(page: Page, job: str) -> str:
    """Return a job's state on the overview."""
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=job, exact=True))
    return row.locator(".warmer-state").inner_text()


def last_run(job: str) -> WarmingRun:
    return WarmingRun.objects.filter(job=job).latest("id")


def test_operator__warms_a_job_and_watches_it_to_the_end(
    open_page: Callable[..., Page], project: Project, worker: Worker
) -> None:
    gate.hold(*gate.IDS)
    page = open_page(*EVERYTHING)
    expect(page.get_by_role("heading", name="Cache warming", level=1)).to_be_visible()
    assert state_of(page, "slow_items") == "unknown"
    page.get_by_label("Why (optional, for the log)").fill("before the sale")
    page.get_by_role("button", name="Warm slow_items now").click()

    expect(page.get_by_role("heading", name="of slow_items", level=1)).to_be_visible()
    run = last_run("slow_items")
    assert run.requested_by == CustomUser.objects.get(username="olga")
    progress = page.locator("[data-warmer-progress]")
    expect(progress.locator('[data-warmer="state"]')).to_have_text("running")
    expect(progress.locator('[data-warmer="batches"]')).to_have_text("0 of 3")

    page.evaluate("window.sameDocument = true")
    gate.await_loads(*gate.BATCHES[0])
    gate.hold(*gate.BATCHES[1], *gate.BATCHES[2])
    expect(progress.locator('[data-warmer="batches"]')).to_have_text("1 of 3")
    expect(progress.locator('[data-warmer="keys"]')).to_have_text("4")
    expect(progress.locator('[data-warmer="left"]')).to_have_text(re.compile(r"\d s"))
    expect(progress.locator('[data-warmer="rate"]')).to_have_text(re.compile("keys/s"))
    assert progress.locator("progress").get_attribute("value") or progress.locator("progress").evaluate(
        "bar => bar.value"
    )
    expect(progress.locator('[data-warmer-count="written"]')).to_have_text("4")
    expect(progress.get_by_text(f"{worker.hostname()}: 1 batch,")).to_be_visible()
    progress.get_by_text("Each batch").click()
    expect(progress.get_by_role("row", name=f"1 {worker.hostname()}")).to_be_visible()
    gate.hold(*gate.BATCHES[2])
    expect(progress.get_by_role("row", name=f"2 {worker.hostname()}")).to_be_visible()
    assert page.evaluate("window.sameDocument"), "the page was loaded again instead of brought up to date"

    gate.release()
    expect(page.locator(".warmer-state").first).to_have_text("complete")
    expect(page.locator("[data-warmer-progress]")).to_have_count(0)
    expect(page.locator('[data-warmer-count="written"]')).to_have_text("12")
    expect(page.get_by_text(f"{worker.hostname()}: 3 batches")).to_be_visible()
    assert set(cache.get_many([f"slow:{id}" for id in gate.IDS])) == {f"slow:{id}" for id in gate.IDS}
    assert LogEntry.objects.get().change_message == f"Warm now: run {run.pk}. Why: before the sale"


def test_overview__brings_itself_up_to_date_and_leaves_what_is_in_use(open_page: Callable[..., Page]) -> None:
    page = open_page(*EVERYTHING)
    page.evaluate("window.sameDocument = true")
    page.get_by_role("checkbox", name="Choose popular_posts").check()
    page.get_by_label("More actions on posts").click()
    posts = page.get_by_role("row").filter(has=page.get_by_role("link", name="posts", exact=True))
    expect(posts).to_contain_text("never run")

    run = WarmingRun.objects.create(
        job="posts",
        active_job="posts",
        trigger="deploy",
        state=State.RUNNING,
        batches_total=3,
        attempt=1,
        expires_at="2099-01-01T00:00:00Z",
    )
    expect(posts.locator(".warmer-state")).to_have_text("running")
    expect(posts).to_contain_text("0 of 3 batches")
    expect(posts.get_by_role("link", name=f"run {run.pk}")).to_be_visible()
    expect(page.get_by_label("Jobs by state")).to_contain_text("running 1")
    expect(page.get_by_role("checkbox", name="Choose popular_posts")).to_be_checked()
    expect(page.get_by_role("button", name="Pause posts")).to_be_visible()
    page.get_by_label("Choose every job of this page").check()
    expect(page.get_by_role("checkbox", name="Choose posts")).to_be_checked()
    assert page.evaluate("window.sameDocument"), "the page was loaded again instead of brought up to date"

    page.get_by_role("button", name="Pause posts").click()
    expect(page.get_by_text("Paused: posts.")).to_be_visible()
    page.route("**/overview/**", lambda route: route.fulfill(status=503))
    expect(page.get_by_text("The server does not answer (status 503): this was seen at")).to_be_visible()
    page.unroute_all()
    expect(page.get_by_text("Brought up to date every 10 s.")).to_be_visible()


def test_operator__cancels_a_run_which_ends_at_its_next_batch(
    open_page: Callable[..., Page], project: Project, worker: Worker
) -> None:
    gate.hold(*gate.IDS)
    page = open_page(*EVERYTHING)
    page.get_by_role("button", name="Warm slow_items now").click()
    expect(page.locator('[data-warmer="batches"]')).to_have_text("0 of 3")
    # Two processes have two batches in hand: the third waits.
    gate.await_loads(*gate.BATCHES[0], *gate.BATCHES[1])

    page.get_by_label("Why (optional, for the log)").fill("wrong day")
    page.get_by_role("button", name="Cancel this run").click()

    expect(page.locator(".warmer-state").first).to_have_text("cancelled")
    expect(page.get_by_text("Cancelled by olga. Why: wrong day")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel this run")).to_have_count(0)
    gate.release()
    run = reached(last_run("slow_items"), lambda now: now.batches_done == 2, "has counted what was in hand")
    worker.await_log(f"Batch 3 of run {run.pk} is no longer wanted: dropped")
    run.refresh_from_db()
    assert (run.state, run.written, run.batches_done) == (State.CANCELLED, 8, 2)
    assert [gate.loads(id) for id in gate.BATCHES[2]] == [0] * 4
    # The page says so by itself.
    expect(page.locator('[data-warmer="batches"]')).to_have_text("2 of 3")
    expect(page.locator('[data-warmer-count="written"]')).to_have_text("8")
    expect(page.get_by_text(f"{worker.hostname()}: 2 batches")).to_be_visible()
    assert LogEntry.objects.latest("pk").change_message == "Cancelled. Why: wrong day"


def test_operator__sets_a_schedule_and_goes_back_to_the_codes(open_page: Callable[..., Page]) -> None:
    page = open_page(*EVERYTHING)
    page.get_by_role("link", name="posts", exact=True).click()
    in_force = page.get_by_role("row", name="In force")
    expect(in_force).to_contain_text("every 15 minutes (as code says)")

    page.get_by_label("Number").fill("2")
    page.get_by_label("Unit").select_option("hours")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Keys of posts live 1 hour")).to_be_visible()
    assert PeriodicTask.objects.get(name="warm posts").interval.every == 15

    page.get_by_label("Unit").select_option("minutes")
    page.get_by_label("Why (for the log)").fill("news day")
    page.get_by_role("button", name="Save").click()
    expect(in_force).to_contain_text("every 2 minutes (set by an operator)")
    task = PeriodicTask.objects.get(name="warm posts")
    assert (task.interval.every, task.interval.period, task.task) == (2, "minutes", "warmer.scheduled_run")

    page.get_by_label("at the times of a crontab").check()
    page.get_by_label("Crontab, five fields").fill("*/20 8-18 * * mon-fri")
    page.get_by_label("On: the schedule refreshes this job").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(in_force).to_contain_text("crontab */20 8-18 * * mon-fri (UTC), paused")
    page.goto("/admin/warmer/")
    assert state_of(page, "posts") == "paused"

    page.get_by_role("link", name="posts", exact=True).click()
    page.get_by_role("button", name="Back to the code's value").click()
    expect(in_force).to_contain_text("every 15 minutes (as code says)")
    expect(page.get_by_text("Why: news day")).to_be_visible()


def test_operator__invalidates_only_after_the_question(open_page: Callable[..., Page]) -> None:
    cache.set("popular_posts", ["old"])
    page = open_page(*EVERYTHING)
    page.get_by_role("checkbox", name="Choose popular_posts").check()
    page.get_by_role("group", name="With the chosen jobs").get_by_role("button", name="Invalidate").click()
    expect(page.get_by_role("heading", name="are you sure")).to_be_visible()
    assert cache.get("popular_posts") == ["old"]
    page.get_by_role("button", name="Invalidate 1 job").click()
    expect(page.get_by_text("Invalidated: every key of popular_posts.")).to_be_visible()
    assert cache.get("popular_posts") is None


def test_reader__finds_no_button_and_every_address_refuses(open_page: Callable[..., Page]) -> None:
    run = WarmingRun.objects.create(
        job="posts", active_job="posts", trigger="command", expires_at="2099-01-01T00:00:00Z"
    )
    page = open_page("view_job", "view_warmingrun", name="rita")
    main = page.get_by_role("main")
    for address in ("", "job/posts/schedule/", f"warmingrun/{run.pk}/change/"):
        page.goto(f"/admin/warmer/{address}")
        names = main.get_by_role("button").all_inner_texts()
        assert set(names) <= {"Search"}, (address, names)
    token = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}["csrftoken"]
    addresses = [f"job/{name}/" for name in ("warm", "invalidate", "pause", "resume", "audit")]
    addresses += ["job/posts/schedule/", "job/posts/schedule/reset/", f"warmingrun/{run.pk}/cancel/"]
    for address in addresses:
        answer = page.request.post(
            f"/admin/warmer/{address}",
            form={"only": "posts", "confirmed": "yes", "csrfmiddlewaretoken": token},
            headers={"Referer": page.url},
        )
        assert answer.status == 403, address
        assert "CSRF" not in answer.text(), address
    run.refresh_from_db()
    assert run.state == State.QUEUED
    assert WarmingRun.objects.count() == 1
    assert PeriodicTask.objects.get(name="warm posts").enabled


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_pages__fit_are_labelled_and_work_by_keyboard(open_page: Callable[..., Page], width: int) -> None:
    run = WarmingRun.objects.create(
        job="posts",
        active_job="posts",
        trigger="command",
        state=State.RUNNING,
        attempt=1,
        expires_at="2099-01-01T00:00:00Z",
    )
    page = open_page(*EVERYTHING, width=width)
    counts = dict.fromkeys(("written", "fresh", "fenced", "absent", "failed"), 123_456)
    WarmingRun.objects.create(
        job="user_profiles",
        trigger="admin",
        requested_by=CustomUser.objects.get(username="olga"),
        state=State.INCOMPLETE,
        expires_at=run.requested_at,
        started_at=run.requested_at,
        finished_at=run.requested_at + timedelta(minutes=75),
        error="ValueError: " + "something_without_any_space_" * 8,
        **counts,
    )
    counts = dict.fromkeys(("right", "wrong", "missing", "absent", "changed", "failed"), 123_456)
    audit = CacheAudit.objects.create(
        job=LONG_NAME,
        trigger="schedule",
        started_at=run.requested_at,
        whole=False,
        sampled=6 * 123_456,
        undeclared=0,
        repaired=0,
        queries=9,
        **counts,
    )
    long = WarmingRun.objects.create(
        job=LONG_NAME, trigger="schedule", state=State.COMPLETE, expires_at=run.requested_at
    )
    for address in (
        *("", "job/posts/schedule/", f"job/{LONG_NAME}/schedule/"),
        *(f"warmingrun/{run.pk}/change/", f"warmingrun/{long.pk}/change/", "warmingrun/"),
        *("cacheaudit/", f"cacheaudit/{audit.pk}/change/"),
    ):
        page.goto(f"/admin/warmer/{address}")
        page.evaluate(_LONG_NAMES)
        assert page.evaluate(_SAME_ID) == [], address
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, address
        assert page.evaluate(_CUT_OFF, width) == [], address
        assert page.evaluate(_SCROLLS) == [], address
        assert page.evaluate(_WITHOUT_NAME) == [], address
    page.goto("/admin/warmer/")
    more = page.locator("summary[aria-label='More actions on posts']")
    for _ in range(200):
        if more.evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Paused: posts.")).to_be_visible()


def test_run__without_scripts_the_page_reloads_itself(open_page: Callable[..., Page]) -> None:
    run = WarmingRun.objects.create(
        job="posts", active_job="posts", trigger="command", expires_at="2099-01-01T00:00:00Z"
    )
    page = open_page(*EVERYTHING, scripts=False)
    page.goto(f"/admin/warmer/warmingrun/{run.pk}/change/")
    expect(page.locator(".warmer-state").first).to_have_text("queued")
    WarmingRun.objects.update(state=State.FAILED, active_job=None)
    expect(page.locator(".warmer-state").first).to_have_text("failed")


# Of our own part of a page: what reaches past the window, and is not meant only for screen readers.
_CUT_OFF = """width => [...document.querySelectorAll("#content-main *")]
  .filter(one => one.checkVisibility() && !one.closest(".visually-hidden, thead"))
  .filter(one => one.getBoundingClientRect().right > width + 1)
  .map(one => one.outerHTML.slice(0, 120))"""
_LONG_NAMES = """() => {
  const broken = "a_long_name_of_a_job_".repeat(4).replaceAll("_", "_<wbr>");
  const names = document.querySelectorAll("tbody th[scope=row] > a, td.field-name");
  names.forEach(one => { one.innerHTML = broken });
}"""
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
