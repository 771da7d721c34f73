"""The overview, which brings itself up to date."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.system.browser.pages import EVERYTHING, MARKS, make_run, row_of
from warmer.models import State

pytestmark = MARKS


def open_overview(open_page: Callable[..., Page]) -> Page:
    """Return the overview, with a clock that `later` moves on."""
    page = open_page(*EVERYTHING)
    page.clock.install()
    page.reload()
    return page


def later(page: Page, seconds: int = 10) -> None:
    """Move the page's clock on, past its next update."""
    page.clock.fast_forward(seconds * 1000)


def test_overview__brings_itself_up_to_date_and_leaves_what_is_in_use(open_page: Callable[..., Page]) -> None:
    page = open_overview(open_page)
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


def test_overview__keeps_the_keyboard_where_it_is_when_a_job_goes__leads_to_the_log_in(
    open_page: Callable[..., Page],
) -> None:
    page = open_overview(open_page)
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
    note = page.get_by_role("status")
    expect(note).to_contain_text("You are logged out: log in again; this page is from ")
    note.get_by_role("link", name="log in again").click()
    expect(page.get_by_label("Password:")).to_be_visible()
