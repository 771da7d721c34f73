"""Who may see and press what: each button by its own permission, and nothing by a link."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from tests.integration.admin.pages import AUDIT, INVALIDATE, JOBS, OVERVIEW, PAUSE, RESUME, RUNS, WARM, log
from warmer.models import CacheAudit, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
PERMISSIONS = {
    WARM: "warm_job",
    INVALIDATE: "invalidate_job",
    AUDIT: "audit_job",
    PAUSE: "pause_job",
    RESUME: "pause_job",
}


@pytest.mark.parametrize("url", PERMISSIONS)
def test_permissions__by_get_is_405(operator: Client, url: str) -> None:
    assert operator.get(url).status_code == 405


@pytest.mark.parametrize("url", PERMISSIONS)
def test_permissions__without_the_permission_there_is_no_button_and_the_url_is_403(
    log_in: Callable[..., Client], url: str
) -> None:
    cache.set("post:1", "kept")
    others = {*PERMISSIONS.values(), "edit_schedule", "cancel_run"} - {PERMISSIONS[url]}
    client = log_in("view_job", "view_warmingrun", *others)
    before = list(PeriodicTask.objects.order_by("id").values())
    assert client.post(url, {"only": "posts", "confirmed": "yes"}).status_code == 403
    assert cache.get("post:1") == "kept"
    assert not WarmingRun.objects.exists()
    assert not CacheAudit.objects.exists()
    assert list(PeriodicTask.objects.order_by("id").values()) == before
    for page in (OVERVIEW, f"{JOBS}posts/schedule/"):
        assert url not in client.get(page).content.decode()


@pytest.mark.parametrize("url", PERMISSIONS)
def test_permissions__with_the_permission_alone_it_works(log_in: Callable[..., Client], url: str) -> None:
    client = log_in(PERMISSIONS[url])
    if url == RESUME:
        PeriodicTask.objects.filter(name="warm posts").update(enabled=False)
    assert f'"{url}"' in client.get(OVERVIEW).content.decode()
    answer = client.post(url, {"only": "posts", "confirmed": "yes"})
    assert answer.status_code == 302
    assert len(log()) == 1


@pytest.mark.parametrize("url", PERMISSIONS)
def test_permissions__without_the_csrf_token_is_403(operator: Client, url: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(url, {"only": "posts", "confirmed": "yes"}).status_code == 403
    assert log() == []


@pytest.mark.parametrize("url", PERMISSIONS)
def test_permissions__none_chosen(operator: Client, url: str) -> None:
    assert "No job was chosen" in operator.post(url, follow=True).content.decode()
    assert log() == []


@pytest.mark.parametrize("url", PERMISSIONS)
def test_permissions__unknown_job_begins_nothing(operator: Client, url: str) -> None:
    data = {"job": ["posts", "post<b>"], "confirmed": "yes"}
    page = operator.post(url, data, follow=True).content.decode()
    assert "There is no job" in page
    assert "post<b>" not in page
    assert log() == []
    assert not WarmingRun.objects.exists()


def test_permissions__only_looking_shows_no_button(log_in: Callable[..., Client]) -> None:
    page = log_in("view_job").get(OVERVIEW).content.decode()
    assert ">posts</a>" in page
    assert "formaction" not in page
    assert RUNS not in page.replace('"/admin/warmer/warmingrun/add', "")


def test_permissions__who_may_only_see_runs_sees_no_jobs(log_in: Callable[..., Client]) -> None:
    client = log_in("view_warmingrun")
    assert ">posts</a>" not in client.get(OVERVIEW).content.decode()
    assert RUNS in client.get(OVERVIEW).content.decode()
    assert client.get(JOBS).status_code == 403
    assert client.get(f"{JOBS}posts/schedule/").status_code == 403


def test_permissions__without_any_permission(log_in: Callable[..., Client]) -> None:
    client = log_in()
    assert client.get(OVERVIEW).status_code == 404
    for url in (JOBS, RUNS, f"{JOBS}posts/schedule/"):
        assert client.get(url).status_code == 403


def test_permissions__not_logged_in_leads_to_the_log_in(client: Client) -> None:
    for url in (OVERVIEW, JOBS, RUNS, f"{JOBS}posts/schedule/"):
        assert client.get(url)["Location"].startswith(reverse("admin:login"))
    for url in PERMISSIONS:
        assert client.post(url, {"only": "posts"})["Location"].startswith(reverse("admin:login"))
