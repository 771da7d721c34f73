"""Who may see and press what: each button by its own permission, by POST, and logged in."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from tests.package.admin.pages import ACTIONS, AUDITS, JOBS, OVERVIEW, POSTS, RUNS, act, audit, log, page_of, run_of
from users.models import CustomUser
from warmer import runs
from warmer.models import CacheAudit, State, Trigger, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
ON_A_KEY = {"warm_key": "warm_job", "invalidate_key": "invalidate_job"}
ON_A_JOB = ACTIONS | ON_A_KEY | {"schedule": "edit_schedule", "reset": "edit_schedule"}
ALL_PERMISSIONS = {*ON_A_JOB.values(), "cancel_run", "view_job", "view_warmingrun"}


@pytest.mark.parametrize("action", ON_A_JOB)
def test_action__without_the_permission_has_no_button_and_is_403(log_in: Callable[..., Client], action: str) -> None:
    cache.set("post:1", "kept")
    client = log_in(*ALL_PERMISSIONS - {ON_A_JOB[action]})
    before = list(PeriodicTask.objects.order_by("id").values())
    for url in (JOBS, POSTS):
        for pressed in ([f"{action} posts"], [action, "posts"]):
            assert act(client, *pressed, url=url, confirmed="yes", number=2, unit="minutes", id=1).status_code == 403
        page = client.get(url, {"id": 1}, follow=True).content.decode()
        assert f'value="{action}' not in page
        for other, permission in ON_A_KEY.items():
            assert (f'value="{other}"' in page) is (url == POSTS and permission != ON_A_JOB[action])
        assert ('name="number"' in page) is (url == POSTS and action not in ("schedule", "reset"))
    assert cache.get("post:1") == "kept"
    assert not WarmingRun.objects.exists()
    assert not CacheAudit.objects.exists()
    assert list(PeriodicTask.objects.order_by("id").values()) == before
    assert log() == []


@pytest.mark.parametrize("url", [JOBS, POSTS])
@pytest.mark.parametrize("action", ACTIONS)
def test_action__with_the_permission_alone_works(log_in: Callable[..., Client], action: str, url: str) -> None:
    client = log_in(ACTIONS[action])
    PeriodicTask.objects.filter(name="warm posts").update(enabled=action != "resume")
    page = client.get(url, follow=True).content.decode()
    assert f'value="{action} posts"' in page or f'value="{action}"' in page
    assert act(client, action, "posts", url=url, confirmed="yes").status_code == 302
    assert len(log()) == 1


@pytest.mark.parametrize("action", ON_A_JOB)
def test_action__without_the_csrf_token_is_403(operator: Client, action: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert act(strict, f"{action} posts", url=POSTS, confirmed="yes").status_code == 403
    assert log() == []


@pytest.mark.parametrize("action", ACTIONS)
def test_action__on_no_job_or_an_unknown_one_does_nothing(operator: Client, action: str) -> None:
    assert act(operator, action).status_code == 302
    answer = operator.post(JOBS, {"action": action, "job": ["posts", "post<b>"]}, follow=True)
    assert "post<b>" not in answer.content.decode()
    assert log() == []
    assert not WarmingRun.objects.exists()


@pytest.mark.parametrize("action", ["", "delete", "warm_job"])
def test_action__that_does_not_exist_is_403(operator: Client, action: str) -> None:
    assert act(operator, action, "posts").status_code == 403


def test_viewer__sees_what_is_permitted_and_no_button(log_in: Callable[..., Client]) -> None:
    run = runs.open_run("posts", Trigger.COMMAND).run
    of_jobs, of_runs, nobody = log_in("view_job"), log_in("view_warmingrun"), log_in()
    for url in (OVERVIEW, POSTS):
        page = of_jobs.get(url).content.decode()
        assert ">posts</a>" in page or "Job posts" in page
        assert 'name="action"' not in page
        assert f'href="{RUNS}' not in page
    overview = of_runs.get(OVERVIEW).content.decode()
    assert (">posts</a>" in overview, RUNS in overview) == (False, True)
    assert of_runs.get(JOBS).status_code == of_runs.get(POSTS).status_code == 403
    assert nobody.get(OVERVIEW).status_code == 404
    for url in (JOBS, POSTS, RUNS, f"{RUNS}{run.pk}/change/", f"{RUNS}export.csv", f"{RUNS}export.json"):
        assert nobody.get(url).status_code == 403, url


def test_rows__can_only_be_looked_at(admin_client: Client) -> None:
    run = runs.open_run("posts", Trigger.COMMAND).run
    for url in ("add/", f"{run.pk}/delete/", f"{run.pk}/history/"):
        assert admin_client.get(f"{RUNS}{url}").status_code == 404
        assert admin_client.post(f"{RUNS}{url}", {"post": "yes"}).status_code == 404
    assert admin_client.post(f"{AUDITS}{audit().pk}/change/", {"right": 9}).status_code == 403
    admin_client.post(RUNS, {"action": "delete_selected", "_selected_action": run.pk, "post": "yes"})
    assert WarmingRun.objects.get().state == State.QUEUED


@pytest.mark.parametrize(("action", "permission"), [("cancel", "cancel_run"), ("retry", "warm_job")])
def test_run__each_action_needs_its_own_permission_and_no_other(
    log_in: Callable[..., Client], action: str, permission: str
) -> None:
    failures = [{"key": "post:1", "error": "E: no"}]
    run = run_of("posts", State.FAILED, failed=1, failures=failures)
    if action == "cancel":
        run = runs.open_run("posts", Trigger.COMMAND).run
    url, data = f"{RUNS}{run.pk}/change/", {"action": action}
    before = list(WarmingRun.objects.values())
    others = log_in(*ALL_PERMISSIONS - {permission}, username="otto")
    assert f'value="{action}"' not in page_of(others, run)
    client, strict = log_in(permission), Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    for refused in (others.post(url, data), strict.post(url, data), client.post(url, {"action": "delete"})):
        assert refused.status_code == 403
    assert list(WarmingRun.objects.values()) == before
    assert client.post(url, data).status_code == 302
    newest = WarmingRun.objects.latest("pk")
    assert (newest.state == State.CANCELLED, newest.only_keys) == (
        (True, None) if action == "cancel" else (False, ["post:1"])
    )


def next_of(answer: Any) -> str:
    """Return where a log-in leads that an answer asks for."""
    asked = urlsplit(answer["Location"])
    assert asked.path == reverse("admin:login")
    (found,) = parse_qs(asked.query)["next"]
    return found


@pytest.mark.parametrize("url", [OVERVIEW, JOBS, POSTS, RUNS])
def test_logged_out__leads_to_the_log_in(client: Client, url: str) -> None:
    assert next_of(client.get(url)) == url


@pytest.mark.parametrize("url", [f"{JOBS}?q=post&state=cold", POSTS])
@pytest.mark.parametrize("is_known", [False, True])
def test_logged_out__action_is_not_performed_and_leads_back(client: Client, url: str, is_known: bool) -> None:
    if is_known:  # but no member of the staff
        client.force_login(CustomUser.objects.create_user("eve", "eve@example.org"))
    user = CustomUser.objects.create_user("ada", password="a password", is_staff=True, is_superuser=True)
    answer = act(client, "warm posts", url=url)
    assert next_of(answer) == url
    asked = client.get(answer["Location"]).content.decode()
    assert "nothing was done" in asked
    sent = {"username": user.username, "password": "a password", "next": next_of(answer)}
    page = client.post(answer["Location"], sent, follow=True)
    assert page.status_code == 200
    assert page.request["PATH_INFO"] == (POSTS if url == POSTS else OVERVIEW)
    assert not WarmingRun.objects.exists()
    assert log() == []
