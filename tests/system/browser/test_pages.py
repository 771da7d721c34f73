"""Every page fits, is labelled, and works by keyboard and without scripts; the overview updates itself."""

import re
from collections.abc import Callable
from datetime import timedelta

from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Page, Route, expect

from tests.system.browser.pages import EVERYTHING, NARROW, SITE, WIDE, check_layout, make_run, row_of
from tests.system.slowapp.gate import LONG_NAME
from warmer.models import CacheAudit, JobHour, JobObservation, State, WarmingRun

pytestmark = SITE


def test_pages__fit_are_labelled_and_work_by_keyboard(open_page: Callable[..., Page]) -> None:
    run = make_run("posts", State.RUNNING, attempt=1)
    now = run.requested_at
    failures = [{"key": f"user:{'1' * 90}:profile", "error": "E: " + "without_any_space_" * 20}]
    counts = dict.fromkeys(("written", "skipped", "superseded", "no_value", "failed"), 123_456)
    incomplete = make_run(
        "user_profiles",
        State.INCOMPLETE,
        trigger="admin",
        requested_by="olga",
        started_at=now,
        finished_at=now + timedelta(minutes=75),
        error="ValueError: " + "something_without_any_space_" * 8,
        failures=failures,
        **counts,
    )
    counts = dict.fromkeys(("right", "wrong", "missing", "no_value", "changed", "failed"), 123_456)
    audit = CacheAudit.objects.create(
        job=LONG_NAME,
        trigger="schedule",
        started_at=now,
        whole=False,
        sampled=6 * 123_456,
        undeclared=0,
        repaired=0,
        queries=9,
        wrong_keys=[{"key": "long:" + "1" * 90, "fields": ["a_field_without_any_space_" * 8]}],
        failures=failures,
        **counts,
    )
    observed = {"attempted_at": now, "observed_at": now, "error": "unix:///run/" + "a_folder_without_any_space/" * 8}
    observed |= {"watched": 9, "watched_read": 9, "watched_share": 1, "watched_misses": 1}
    JobObservation.objects.update_or_create(job="posts", defaults=observed)
    for ago in (0, 1, 30):
        hour = now - timedelta(hours=ago)
        JobHour.objects.put("posts", hour, observed=1, pending_max=123_456_789, runs=1, run_seconds=1e6)
    long = make_run(LONG_NAME, State.COMPLETE)
    page = open_page(*EVERYTHING, "view_customuser")
    for width in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": 900})
        for address in (
            *("", "job/posts/change/?span=week&id=1", f"job/{LONG_NAME}/change/"),
            *(f"warmingrun/{run.pk}/change/", f"warmingrun/{long.pk}/change/", "warmingrun/"),
            f"warmingrun/{incomplete.pk}/change/",
            *("cacheaudit/", f"cacheaudit/{audit.pk}/change/"),
        ):
            page.goto(f"/admin/warmer/{address}")
            page.evaluate(_LONG_NAMES)
            check_layout(page)
        page.goto("/admin/warmer/job/posts/change/")  # a long error has room beside its label
        cell = page.get_by_role("row", name="Checked").locator("td")
        assert cell.evaluate("one => one.clientWidth") > 0.4 * width
        page.goto("/admin/warmer/")
        more = page.locator("summary[aria-label='More actions on posts']")
        for wanted in (more, page.get_by_role("button", name="Pause posts")):
            for _ in range(200):
                if wanted.is_visible() and wanted.evaluate("one => one === document.activeElement"):
                    break
                page.keyboard.press("Tab")
            page.keyboard.press("Enter")
        expect(page.get_by_text("Paused posts:")).to_be_visible()
        PeriodicTask.objects.update(enabled=True)


def test_run__without_scripts_the_page_reloads_itself(open_page: Callable[..., Page]) -> None:
    run = make_run("posts")
    page = open_page(*EVERYTHING, scripts=False)
    page.goto(f"/admin/warmer/warmingrun/{run.pk}/change/")
    expect(page.locator(".warmer-state").first).to_have_text("queued")
    WarmingRun.objects.update(state=State.FAILED, active_job=None)
    expect(page.locator(".warmer-state").first).to_have_text("failed")


_LONG_NAMES = """() => {
  const broken = "a_long_name_of_a_job_".repeat(4).replaceAll("_", "_<wbr>");
  const names = document.querySelectorAll("tbody th[scope=row] > a, td.field-name");
  names.forEach(one => { one.innerHTML = broken });
}"""


def later(page: Page, seconds: int = 10) -> None:
    """Move the page's clock on, past its next update."""
    page.clock.fast_forward(seconds * 1000)


def test_overview__brings_itself_up_to_date_and_leaves_what_is_in_use__leads_to_the_log_in(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(*EVERYTHING)
    page.clock.install()
    page.reload()
    page.evaluate("window.sameDocument = true")
    page.get_by_role("checkbox", name="Select popular_posts").check()
    page.get_by_label("More actions on posts").click()
    posts = row_of(page, "posts")
    expect(posts).to_contain_text("never run")

    run = make_run("posts", State.RUNNING, batches_total=3, attempt=1)
    later(page)
    expect(posts.locator(".warmer-state")).to_have_text("running")
    expect(posts).to_contain_text("0 of 3 batches")
    expect(posts.get_by_role("link", name=f"run {run.pk}")).to_be_visible()
    expect(page.get_by_label("Jobs by state")).to_contain_text("running 1")
    expect(page.get_by_role("checkbox", name="Select popular_posts")).to_be_checked()
    expect(page.get_by_role("button", name="Pause posts")).to_be_visible()
    page.get_by_label("Select every job of this page").check()
    expect(page.get_by_role("checkbox", name="Select posts")).to_be_checked()
    assert page.evaluate("window.sameDocument"), "the page was loaded again instead of updated"

    page.get_by_role("button", name="Pause posts").click()
    expect(page.get_by_text("Paused posts:")).to_be_visible()
    page.route("**/admin/warmer/?*live=1*", lambda route: route.fulfill(status=503))
    later(page)
    expect(page.get_by_text("The server does not answer (status 503): this page is from")).to_be_visible()
    page.unroute_all()
    later(page, seconds=20)  # after a failure it waits longer
    note = page.get_by_role("status")
    expect(note).to_have_text("Updates every 10 seconds.")
    page.route("**/admin/warmer/?*live=1*", lambda route: None)  # an answer that never comes
    later(page)
    later(page, seconds=3)
    expect(note).to_contain_text("The server has not answered yet: this page is from ")

    # The keyboard stays where it is when a job goes.
    page.unroute_all()
    page.reload()
    gone = "popular_posts"

    def without_it(route: Route) -> None:
        answer = route.fetch()
        row = re.compile(rf'<tr[^>]*data-warmer-job="{gone}".*?</tr>', re.DOTALL)
        route.fulfill(response=answer, body=row.sub("", answer.text()))

    chosen = page.get_by_role("checkbox", name="Select posts")
    chosen.check()
    chosen.focus()
    page.route("**/admin/warmer/?*live=1*", without_it)
    later(page)
    expect(page.get_by_role("checkbox", name=f"Select {gone}")).to_have_count(0)
    expect(chosen).to_be_checked()
    expect(chosen).to_be_focused()

    page.unroute_all()
    page.context.clear_cookies()
    later(page)
    expect(note).to_contain_text("You are logged out: log in again; this page is from ")
    note.get_by_role("link", name="log in again").click()
    expect(page.get_by_label("Password:")).to_be_visible()
