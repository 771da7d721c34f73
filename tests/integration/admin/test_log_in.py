"""An action by somebody who is not logged in any more: they log in, and are back where they were."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse

from tests.integration.admin.pages import INVALIDATE, JOBS, OVERVIEW, RUNS, WARM, log
from users.models import CustomUser
from warmer import runs
from warmer.models import State, Trigger, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
HOST = "http://testserver"
JOB = f"{JOBS}posts/schedule/"
RESET = f"{JOB}reset/"


def next_of(answer: Any) -> str:
    """Return where a log-in leads that an answer asks for."""
    assert answer.status_code == 302
    asked = urlsplit(answer["Location"])
    assert asked.path == reverse("admin:login")
    (found,) = parse_qs(asked.query)["next"]
    return found


@pytest.mark.parametrize(
    ("url", "page"),
    [
        (WARM, OVERVIEW),
        (WARM, f"{OVERVIEW}?q=post&state=cold"),
        (WARM, JOBS),
        (WARM, JOB),
        (INVALIDATE, JOB),
        (RESET, JOB),
        (JOB, JOB),
    ],
)
def test_log_in__leads_back_to_the_page_that_the_action_was_on(client: Client, url: str, page: str) -> None:
    answer = client.post(url, {"only": "posts"}, headers={"referer": HOST + page})
    assert next_of(answer) == page
    assert not WarmingRun.objects.exists()


def test_log_in__from_cancelling_a_run_leads_back_to_it(client: Client) -> None:
    run = runs.open_run("posts", Trigger.COMMAND).run
    page = f"{RUNS}{run.pk}/change/"
    answer = client.post(f"{RUNS}{run.pk}/cancel/", headers={"referer": HOST + page})
    assert next_of(answer) == page
    run.refresh_from_db()
    assert run.state == State.QUEUED


@pytest.mark.parametrize(
    "referer",
    [
        "",
        HOST,
        f"{HOST}{INVALIDATE}",  # the question, which is asked at the action's own address
        "https://evil.example/admin/warmer/",
        "http://testserver.evil.example/",
        "http://[",
        "javascript:alert(1)",
    ],
)
def test_log_in__leads_to_the_overview_when_no_page_is_told(client: Client, referer: str) -> None:
    answer = client.post(INVALIDATE, {"job": "posts", "confirmed": "yes"}, headers={"referer": referer})
    assert next_of(answer) == OVERVIEW


def test_log_in__says_that_nothing_was_done_and_ends_on_the_page(client: Client) -> None:
    user = CustomUser.objects.create_user("ada", password="a password", is_staff=True, is_superuser=True)
    answer = client.post(WARM, {"only": "posts"}, headers={"referer": HOST + JOB})
    asked = client.get(answer["Location"]).content.decode()
    assert "Nothing was done, as you were not logged in." in asked
    sent = {"username": user.username, "password": "a password", "next": next_of(answer)}
    page = client.post(answer["Location"], sent, follow=True)
    assert page.status_code == 200
    assert page.request["PATH_INFO"] == JOB
    assert not WarmingRun.objects.exists()
    assert log() == []


def test_log_in__of_somebody_who_is_no_member_of_the_staff(client: Client) -> None:
    client.force_login(CustomUser.objects.create_user("eve"))
    answer = client.post(WARM, {"only": "posts"}, headers={"referer": HOST + OVERVIEW})
    assert next_of(answer) == OVERVIEW
    assert not WarmingRun.objects.exists()
