"""All pages: in another project with an admin site of its own and ATOMIC_REQUESTS, their times and markup."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import path

from myapp.models import Post
from tests.package.admin.pages import AUDITS, JOBS, OVERVIEW, POSTS, RUNS, log, run_of, text_of, wrong_audit
from warmer import warm_many
from warmer.admin import CacheAuditAdmin, JobAdmin, WarmingRunAdmin
from warmer.models import CacheAudit, Job, State, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

ops = admin.AdminSite(name="ops")
for model, its_admin in ((Job, JobAdmin), (WarmingRun, WarmingRunAdmin), (CacheAudit, CacheAuditAdmin)):
    ops.register(model, its_admin)
ops.register(Post)
urlpatterns = [path("admin/", admin.AdminSite().urls), path("ops/", ops.urls)]


def declare(statement: str) -> None:
    @warm_many("thing:{id}", name="things", ids=lambda: [1], depends_on={Post: "id"})
    def things(ids: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        return dict.fromkeys(ids, "value")


@pytest.mark.urls(__name__)
def test_sites__pages_lead_to_pages_of_their_own_site(admin_client: Client) -> None:
    declare("SELECT 1")
    run = run_of("things", State.FAILED, failed=1, failures=[{"key": "thing:1", "error": "x"}])
    audit = wrong_audit("things", wrong_keys=[{"key": "thing:1", "fields": ["title"]}])
    root = "/ops/warmer/"
    links = {
        "warmingrun/": "job/things/change/",
        f"warmingrun/{run.pk}/change/": "../myapp/post/1/change/",
        "cacheaudit/": "job/things/change/",
        f"cacheaudit/{audit.pk}/change/": "../myapp/post/1/change/",
        "": "job/things/change/",
    }
    for page, link in links.items():
        shown = admin_client.get(f"{root}{page}").content.decode()
        assert f'href="{root}{link}"'.replace("warmer/../", "") in shown
        assert 'href="/admin/' not in shown
    assert admin_client.get(f"{root}job/").headers["Location"] == root
    for page, data in (
        ("job/", {"action": "warm", "job": "things"}),
        ("job/", {"action": "warm", "job": ["things", "posts"]}),
        (f"warmingrun/{run.pk}/change/", {"action": "retry"}),
    ):
        assert admin_client.post(f"{root}{page}", data).headers["Location"].startswith(f"{root}warmingrun/")


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT 1 FROM nowhere"])
def test_atomic_requests__an_action_is_done_and_logged_at_once(
    operator: Client, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """On PostgreSQL a statement that fails ends the transaction that it is in."""
    declare(statement)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    page = f"{JOBS}things/change/?id=1"
    assert operator.post(page, {"action": "warm_key", "id": "1"}).status_code == 302
    assert cache.get("thing:1") == ("value" if statement == "SELECT 1" else None)
    answer = operator.post(page, {"action": "invalidate_key", "id": "1"}, follow=True)
    assert "success: Invalidated thing:1." in [f"{m.level_tag}: {m}" for m in answer.context["messages"]]
    assert len(log()) == 2


def test_times__name_their_zone_once(operator: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    run, audit = run_of("posts"), wrong_audit("posts")
    for page in (RUNS, f"{RUNS}{run.pk}/change/", AUDITS, f"{AUDITS}{audit.pk}/change/", POSTS):
        assert text_of(operator.get(page).content.decode()).count("Europe/Berlin") == 1, page


@pytest.mark.parametrize("live", [{}, {"live": "1"}])
def test_markup__no_inline_script_or_style_and_breaking_names(
    operator: Client, run: WarmingRun, live: dict[str, str]
) -> None:
    audit = wrong_audit("posts")
    for url in (OVERVIEW, POSTS, f"{RUNS}{run.pk}/change/", f"{AUDITS}{audit.pk}/change/"):
        page = operator.get(url, live).content.decode()
        content = page[page.index('<div id="content-main"') :].partition("<!-- END Content -->")[0]
        assert "<script" not in content
        assert "<style" not in page
        assert not re.search(r'\s(style|on\w+)="', content)
        assert (">user_<wbr>profiles</a>" in content) is (url == OVERVIEW)
