"""What an operator does about wrong keys and about failed ones."""

from collections.abc import Callable

from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.utils import timezone
from playwright.sync_api import Page, expect

from embedded.waiting import wait_until
from myapp.models import Post
from tests.system.browser.pages import EVERYTHING, MARKS, check_red, last_run, make_run, state_of
from tests.system.nodes import Worker
from tests.system.project import Project
from users.models import CustomUser
from warmer.models import CacheAudit, ChangeRecord, State

pytestmark = MARKS


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
    assert [each.change_message for each in LogEntry.objects.order_by("pk")] == [
        "Requested an audit.",
        "Requested an audit with repair. Reason: a reader complained",
        f"Retry of 1 key: run {last_run('posts').pk}.",
    ]
