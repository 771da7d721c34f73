"""What an operator does with the pages, and what somebody without a permission cannot."""

import re
from collections.abc import Callable

from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Page, expect

from embedded.waiting import wait_until
from tests.system.browser.pages import EVERYTHING, MARKS, last_run, make_run, state_of
from tests.system.nodes import Worker
from tests.system.project import Project, reached
from tests.system.slowapp import gate
from warmer.models import State

pytestmark = MARKS


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
    assert LogEntry.objects.get().change_message == f"Warm now: run {run.pk}. Reason: before the sale"

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
    # The page says so by itself.
    expect(page.locator('[data-warmer="batches"]')).to_have_text("2 of 3")
    expect(page.locator('[data-warmer-count="written"]')).to_have_text("8")
    expect(page.get_by_text(f"{worker.hostname()}: 2 batches")).to_be_visible()
    assert LogEntry.objects.latest("pk").change_message == "Cancelled. Reason: wrong day"


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
