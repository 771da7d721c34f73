"""The admin's pages: the jobs with "Warm now", and the runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from embedded.redis_server import RedisServer
from users.models import CustomUser
from warmer import ledger, warm_many
from warmer.models import State, Trigger, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

JOBS, WARM = "/admin/warmer/job/", "/admin/warmer/job/warm/"
RUNS = "/admin/warmer/warmingrun/"


@pytest.fixture
def log_in(make_user: Any) -> Callable[..., Client]:
    """Return a function that logs a member of the staff in, with the named permissions."""

    def log_in(*permissions: str) -> Client:
        user: CustomUser = make_user(is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def operator(log_in: Callable[..., Client]) -> Client:
    """A client that may do everything here."""
    return log_in("view_job", "warm_job", "view_warmingrun")


def test_jobs__lists_what_is_declared_with_its_last_run(operator: Client) -> None:
    ledger.fail(ledger.open_run("posts", Trigger.COMMAND).run, "broken")
    page = operator.get(JOBS).content.decode()
    for name in ("user_profiles", "popular_posts", "posts"):
        assert f'value="{name}"' in page
    assert "warmer-state-failed" in page
    assert "never run" in page
    assert "every 15 minutes" in page


def test_jobs__queries_do_not_grow_with_runs(operator: Client, django_assert_max_num_queries: Any) -> None:
    for _ in range(30):
        ledger.fail(ledger.open_run("posts", Trigger.COMMAND).run, "x")
    operator.get(JOBS)
    with django_assert_max_num_queries(8):
        operator.get(JOBS)
    with django_assert_max_num_queries(12):
        operator.get(RUNS)


def test_warm__one_ends_on_the_runs_page(operator: Client, make_user: Any) -> None:
    user = make_user()
    answer = operator.post(WARM, {"only": "user_profiles"})
    run = WarmingRun.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"{RUNS}{run.pk}/change/"
    assert (run.job, run.trigger, run.state) == ("user_profiles", "admin", State.COMPLETE)
    assert run.requested_by is not None
    assert cache.get(f"user:{user.pk}:profile")["username"] == user.username
    page = operator.get(answer["Location"]).content.decode()
    assert "user_profiles" in page
    assert "complete" in page


def test_warm__several_end_on_their_runs(operator: Client) -> None:
    answer = operator.post(WARM, {"job": ["posts", "popular_posts"], "chosen": "1"}, follow=True)
    assert {run.job for run in WarmingRun.objects.all()} == {"posts", "popular_posts"}
    assert answer.status_code == 200
    assert answer.content.decode().count("/change/") == 2


def test_warm__all(operator: Client) -> None:
    operator.post(WARM, {"all": "1"})
    assert {run.job for run in WarmingRun.objects.all()} == {"user_profiles", "popular_posts", "posts"}


def test_warm__one_that_is_under_way_is_joined_and_said(operator: Client) -> None:
    under_way = ledger.open_run("posts", Trigger.SCHEDULE).run
    page = operator.post(WARM, {"only": "posts"}, follow=True).content.decode()
    assert f"Already being warmed: posts, by run {under_way.pk} (schedule)" in page
    assert WarmingRun.objects.count() == 1


def test_warm__none_chosen(operator: Client) -> None:
    page = operator.post(WARM, {"chosen": "1"}, follow=True).content.decode()
    assert "No job was chosen" in page
    assert not WarmingRun.objects.exists()


def test_warm__unknown_job(operator: Client) -> None:
    page = operator.post(WARM, {"only": "post<b>"}, follow=True).content.decode()
    assert "There is no job" in page
    assert "post<b>" not in page
    assert not WarmingRun.objects.exists()


def test_warm__several_with_an_unknown_one_start_nothing(operator: Client) -> None:
    operator.post(WARM, {"job": ["posts", "nothing"]})
    assert not WarmingRun.objects.exists()


def test_warm__failed_run_is_said(operator: Client, redis_server: RedisServer) -> None:
    redis_server.stop()
    warm_many("x:{id}", ids=lambda: [1], name="x")(lambda ids: {1: 1})
    run = operator.post(WARM, {"only": "x"})
    redis_server.start()
    page = operator.get(run["Location"]).content.decode()
    assert "is failed" in page
    assert "does not answer" in page


def test_warm__by_get_is_405(operator: Client) -> None:
    assert operator.get(WARM).status_code == 405
    assert not WarmingRun.objects.exists()


def test_warm__without_the_permission_is_403(log_in: Callable[..., Client]) -> None:
    client = log_in("view_job", "view_warmingrun")
    assert client.post(WARM, {"only": "posts"}).status_code == 403
    assert not WarmingRun.objects.exists()
    page = client.get(JOBS).content.decode()
    assert "posts" in page
    assert "Warm now" not in page
    assert "Warm all" not in page


def test_warm__without_the_csrf_token_is_403(operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(WARM, {"only": "posts"}).status_code == 403
    assert not WarmingRun.objects.exists()


def test_warm__without_the_right_to_see_runs_ends_on_the_jobs(log_in: Callable[..., Client]) -> None:
    answer = log_in("warm_job").post(WARM, {"only": "posts"}, follow=True)
    assert answer.redirect_chain[-1][0] == JOBS
    assert WarmingRun.objects.count() == 1


def test_pages__without_any_permission_are_403(log_in: Callable[..., Client]) -> None:
    client = log_in()
    assert client.get(JOBS).status_code == 403
    assert client.get(RUNS).status_code == 403


def test_pages__not_logged_in_leads_to_the_log_in(client: Client) -> None:
    for url in (JOBS, RUNS):
        assert client.get(url)["Location"].startswith(reverse("admin:login"))
    assert client.post(WARM, {"only": "posts"})["Location"].startswith(reverse("admin:login"))


def test_runs__can_only_be_looked_at(admin_client: Client) -> None:
    run = ledger.open_run("posts", Trigger.COMMAND).run
    assert admin_client.get(f"{RUNS}add/").status_code == 403
    assert admin_client.post(f"{RUNS}{run.pk}/change/", {"state": "complete"}).status_code == 403
    assert admin_client.post(f"{RUNS}{run.pk}/delete/", {"post": "yes"}).status_code == 403
    assert WarmingRun.objects.get().state == State.QUEUED


def test_runs__failed_keys_are_named_and_escaped(operator: Client) -> None:
    def loader(ids: Any) -> Any:
        raise ValueError("<script>alert(1)</script>")

    warm_many("x:{id}", ids=lambda: [1], name="x")(loader)
    run = operator.post(WARM, {"only": "x"})
    page = operator.get(run["Location"]).content.decode()
    assert "x:1" in page
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page


def test_runs__page_of_a_running_one_reloads_itself(operator: Client) -> None:
    run = ledger.open_run("posts", Trigger.COMMAND).run
    assert 'http-equiv="refresh"' in operator.get(f"{RUNS}{run.pk}/change/").content.decode()
    ledger.fail(run, "over")
    assert 'http-equiv="refresh"' not in operator.get(f"{RUNS}{run.pk}/change/").content.decode()


def test_index__leads_to_jobs_and_runs(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()
    assert JOBS in page
    assert RUNS in page
