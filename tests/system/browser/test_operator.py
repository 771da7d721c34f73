"""What an operator does with the pages, and what somebody without a permission cannot."""

import re
from collections.abc import Callable

from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Page, Request, expect

from embedded.waiting import wait_until
from myapp.models import Post
from tests.system.browser.pages import EVERYTHING, SITE, check_red, last_run, make_run, state_of
from tests.system.nodes import Worker
from tests.system.project import Project, reached
from tests.system.slowapp import gate
from users.models import CustomUser
from warmer.models import CacheAudit, ChangeRecord, State, WarmingRun

pytestmark = SITE


def test_operator__warms_a_job_and_watches_it_to_the_end__cancels_another_run(
    open_page: Callable[..., Page], project: Project, worker: Worker
) -> None:
    gate.hold(*gate.IDS)
    page = open_page(*EVERYTHING)
    expect(page.get_by_role("heading", name="Cache warming", level=1)).to_be_visible()
    assert state_of(page, "slow_items") == "unknown"
    page.get_by_label("Reason (optional, for the log").fill("before the sale")
    page.get_by_role("button", name="Warm slow_items now").click()

    expect(page.get_by_role("heading", name="of slow_items", level=1)).to_be_visible()
    run = last_run("slow_items")
    assert run.requested_by == "olga"
    progress = page.locator("[data-warmer-live]")
    state = page.locator('[data-warmer-part="progress"] .warmer-state')
    expect(state).to_have_text("running")
    expect(progress.locator('[data-warmer="batches"]')).to_have_text("0 of 3")

    page.evaluate("window.sameDocument = true")
    gate.await_loads(*gate.BATCHES[0])
    gate.hold(*gate.BATCHES[1], *gate.BATCHES[2])
    expect(progress.locator('[data-warmer="batches"]')).to_have_text("1 of 3")
    expect(progress.locator('[data-warmer="keys"]')).to_have_text("4")
    expect(progress.locator('[data-warmer="left"]')).to_have_text(re.compile(r"\d\ss"))
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
    assert page.evaluate("window.sameDocument"), "the page was loaded again instead of updated"

    gate.release()
    expect(page.locator(".warmer-state").first).to_have_text("complete")
    expect(page.locator("[data-warmer-live]")).to_have_count(0)
    expect(page.locator('[data-warmer-count="written"]')).to_have_text("12")
    expect(page.get_by_text(f"{worker.hostname()}: 3 batches")).to_be_visible()
    assert set(cache.get_many([f"slow:{id}" for id in gate.IDS])) == {f"slow:{id}" for id in gate.IDS}
    logged = LogEntry.objects.get().change_message
    assert logged.startswith(f"Requested run {run.pk} of slow_items: ")
    assert logged.endswith("Reason: before the sale")

    # The same once more, but cancelled: it ends at its next batch.
    gate.hold(*gate.IDS)
    page.goto("/admin/warmer/")
    page.get_by_role("button", name="Warm slow_items now").click()
    expect(page.locator('[data-warmer="batches"]')).to_have_text("0 of 3")
    # Two processes have two batches in hand: the third waits.
    gate.await_loads(*gate.BATCHES[0], *gate.BATCHES[1], count=2)

    page.get_by_label("Reason (optional, for the log").fill("wrong day")
    page.get_by_role("button", name="Cancel this run").click()

    expect(page.locator(".warmer-state").first).to_have_text("cancelled")
    expect(page.get_by_text("Cancelled by olga. Why: wrong day")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel this run")).to_have_count(0)
    gate.release()
    run = reached(last_run("slow_items"), lambda now: now.batches_done == 2, "has counted what was in hand")
    wait_until(project.has_no_batches, what="nobody is asked for the third batch any more")
    run.refresh_from_db()
    assert (run.state, run.written, run.batches_done) == (State.CANCELLED, 8, 2)
    assert [gate.loads(id) for id in gate.BATCHES[2]] == [1] * 4  # by the run before
    page.reload()
    expect(page.locator('[data-warmer="batches"]')).to_have_text("2 of 3")
    expect(page.locator('[data-warmer-count="written"]')).to_have_text("8")
    expect(page.get_by_text(f"{worker.hostname()}: 2 batches")).to_be_visible()
    assert LogEntry.objects.latest("pk").change_message == f"Cancelled run {run.pk}. Reason: wrong day"


def test_operator__sets_a_schedule_and_resets_it__invalidates_after_a_question(open_page: Callable[..., Page]) -> None:
    page = open_page(*EVERYTHING)
    page.get_by_role("link", name="posts", exact=True).click()
    in_force = page.get_by_role("row", name="Current")
    expect(in_force).to_contain_text("every 15 min (as declared)")

    page.get_by_label("every", exact=True).fill("2")
    page.get_by_label("Unit", exact=True).select_option("hours")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Keys of posts live 1 h")).to_be_visible()
    assert PeriodicTask.objects.get(name="warm posts").interval.every == 15

    page.get_by_label("Unit", exact=True).select_option("minutes")
    page.get_by_label("Reason (optional)").fill("news day")
    page.get_by_role("button", name="Save").click()
    expect(in_force).to_contain_text("every 2 min (set by an operator)")
    task = PeriodicTask.objects.get(name="warm posts")
    assert (task.interval.every, task.interval.period, task.task) == (2, "minutes", "warmer.scheduled_run")

    page.get_by_label("at the times of a crontab").check()
    page.get_by_label("Crontab, five fields").fill("*/20 8-18 * * mon-fri")
    page.get_by_label("On: the schedule refreshes this job").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(in_force).to_contain_text("*/20 8-18 * * mon-fri UTC, paused")
    page.goto("/admin/warmer/")
    assert state_of(page, "posts") == "paused"

    page.get_by_role("link", name="posts", exact=True).click()
    page.get_by_role("button", name="Reset to the declared schedule").click()
    expect(in_force).to_contain_text("every 15 min (as declared)")
    expect(page.get_by_text("Reason: news day")).to_be_visible()

    cache.set("popular_posts", ["old"])
    page.goto("/admin/warmer/")
    page.get_by_role("checkbox", name="Select popular_posts").check()
    page.get_by_role("group", name="With the selected jobs").get_by_role("button", name="Invalidate").click()
    expect(page.get_by_role("heading", name="are you sure")).to_be_visible()
    assert cache.get("popular_posts") == ["old"]
    page.get_by_role("button", name="Invalidate 1 job").click()
    expect(page.get_by_text("Invalidated every key of popular_posts.")).to_be_visible()
    assert cache.get("popular_posts") is None


def test_reader__finds_no_button_and_every_address_refuses(open_page: Callable[..., Page]) -> None:
    run = make_run("posts")
    page = open_page("view_job", "view_warmingrun", name="rita")
    addresses = ("", "job/posts/change/", f"warmingrun/{run.pk}/change/")
    for address in addresses:
        page.goto(f"/admin/warmer/{address}")
        names = page.get_by_role("main").get_by_role("button").all_inner_texts()
        assert set(names) <= {"Search", "Look up"}, (address, names)
    token = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}["csrftoken"]
    for address, action in zip(("job/", *addresses[1:]), ("warm", "pause", "cancel"), strict=True):
        form = {"action": action, "job": "posts", "csrfmiddlewaretoken": token}
        answer = page.request.post(f"/admin/warmer/{address}", form=form, headers={"Referer": page.url})
        assert (answer.status, "CSRF" in answer.text()) == (403, False), address


def test_operator__sees_a_failure_on_the_jobs_page_and_warms_its_key(open_page: Callable[..., Page]) -> None:
    page = open_page(*EVERYTHING)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.clock.install()
    page.goto("/admin/warmer/job/popular_posts/change/")
    expect(page.get_by_role("row", name="Last run never run")).to_be_visible()
    make_run("popular_posts", State.FAILED, error="Broken.")
    page.clock.fast_forward(10_000)
    expect(page.get_by_text("Broken.")).to_be_in_viewport()

    page.get_by_role("button", name="Look up").press("Enter")
    expect(page.get_by_role("row", name="Cached no")).to_be_in_viewport()
    page.get_by_label("Reason (optional, for the log)").nth(1).fill("wrong title")
    page.get_by_role("button", name="Warm this key").click()
    expect(page.get_by_text("Warmed popular_posts.").first).to_be_visible()
    expect(page.get_by_role("row", name="Cached yes")).to_be_visible()
    assert LogEntry.objects.latest("pk").get_change_message().endswith("Reason: wrong title")


# -- wrong and failed keys ----------------------------------------------------------------------------
def test_operator__repairs_wrong_keys__and_retries_failed_ones(
    open_page: Callable[..., Page], project: Project, worker: Worker
) -> None:
    author = CustomUser.objects.create_user("ada", "ada@example.org")
    fields = {"title": "A title", "slug": "a-title", "is_popular": True, "published_at": timezone.now()}
    key = f"post:{Post.objects.create(author=author, **fields).pk}"
    ChangeRecord.objects.all().delete()  # else the worker, whose jobs are others, applies it again
    project.manage("warm_cache", "posts")
    right = cache.get(key)
    cache.set(key, right | {"title": "Another title"})
    page = open_page(*EVERYTHING, "view_post")
    page.get_by_label("More actions on posts").click()
    page.get_by_role("button", name="Audit posts").click()
    expect(page.get_by_text("Queued an audit of posts.")).to_be_visible()
    expect(page.get_by_label("Jobs by state")).to_contain_text("wrong 1")
    check_red(page)
    assert page.locator("tr[data-warmer-job]").first.get_attribute("data-warmer-job") == "posts"

    page.get_by_role("link", name="0 of 1 right").click()
    page.get_by_role("link", name=key).click()
    expect(page.get_by_role("heading", name="View post")).to_be_visible()
    page.go_back()
    page.get_by_label("Reason (optional, for the log").fill("a reader complained")
    page.get_by_role("button", name="Audit every key and invalidate the wrong ones").click()
    expect(page.get_by_role("heading", name="Job posts")).to_be_visible()
    repaired = CacheAudit.objects.filter(job="posts", repaired=1)
    wait_until(repaired.exists, what="a worker repairs")
    assert cache.get(key) is None
    page.goto("/admin/warmer/")
    assert state_of(page, "posts") != "wrong"

    counts = {"batches_total": 1, "batches_done": 1, "failed": 1}
    error, failures = "Every key failed; the first: ValueError: no", [{"key": key, "error": "ValueError: no"}]
    failed = make_run("posts", State.FAILED, error=error, failures=failures, **counts)
    page.goto("/admin/warmer/warmingrun/")
    expect(page.get_by_role("row", name="failed")).to_contain_text("the first: ValueError: no")
    page.get_by_role("link", name=str(failed.pk), exact=True).click()
    expect(page.get_by_role("progressbar")).to_have_class("warmer-bar-failed")
    page.get_by_role("button", name="Retry this key").click()
    expect(page.get_by_text("1 key that failed before")).to_be_visible()
    expect(page.locator(".warmer-state").first).to_have_text("complete")
    assert cache.get(key) == right
    *audits, retried = [each.change_message for each in LogEntry.objects.order_by("pk")]
    assert audits == ["Queued an audit of posts.", "Queued an audit with repair of posts. Reason: a reader complained"]
    assert retried.startswith(f"Requested run {last_run('posts').pk} of posts: ")


# -- Enter in a form of several buttons, of which it presses none -------------------------------------
OVERVIEW, JOB = "/admin/warmer/", "/admin/warmer/job/posts/change/"


def test_enter__in_a_field_presses_no_button__on_a_button_that_one(open_page: Callable[..., Page]) -> None:
    sent: list[Request] = []
    for name, scripts in (("otto", False), ("olga", True)):
        page = open_page(*EVERYTHING, name=name, scripts=scripts)
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

    # With scripts, for a page without them does not tell what has the focus.
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
        expect(page.get_by_text("Paused posts: the schedule skips it.", exact=True)).to_be_visible()
        assert LogEntry.objects.get().change_message == "Paused posts: the schedule skips it. Reason: load"
        LogEntry.objects.all().delete()
        PeriodicTask.objects.update(enabled=True)
