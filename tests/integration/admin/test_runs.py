"""The list of runs and its filters; their export."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.integration.admin.pages import RUNS
from warmer import runs
from warmer.admin import export, filters
from warmer.models import State, Trigger, WarmingRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def history(make_user: Any) -> list[WarmingRun]:
    """Four ended runs, the oldest first."""
    now = timezone.now()
    made = []
    for job, trigger, state, days in (
        ("posts", Trigger.SCHEDULE, State.COMPLETE, 40),
        ("posts", Trigger.ADMIN, State.FAILED, 2),
        ("user_profiles", Trigger.ADMIN, State.COMPLETE, 0),
        ("gone", Trigger.DEPLOY, State.COMPLETE, 0),
    ):
        asked = now - timedelta(days=days)
        made.append(
            WarmingRun.objects.create(
                job=job,
                trigger=trigger,
                state=state,
                requested_at=asked,
                expires_at=asked,
                started_at=asked,
                finished_at=asked + timedelta(seconds=2.5),
                written=7,
                error="=HYPERLINK(1)" if state == State.FAILED else "",
                requested_by=make_user(username="@cmd") if state == State.FAILED else None,
            )
        )
    return made


def numbers_of(page: str) -> list[int]:
    return [int(part.split("/")[0]) for part in page.split(f'href="{RUNS}')[1:] if "/change/" in part[:20]]


def exported(client: Client, **query: str) -> list[dict[str, Any]]:
    answer = client.get(f"{RUNS}export.json", query)
    assert answer.status_code == 200
    return json.loads(b"".join(answer.streaming_content))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [3, 2, 1, 0]),
        ({"job": "posts"}, [1, 0]),
        ({"job": "gone"}, [3]),
        ({"trigger__exact": "admin"}, [2, 1]),
        ({"state__exact": "failed"}, [1]),
        ({"job": "posts", "state__exact": "complete"}, [0]),
        (
            {"requested_at__gte": f"{timezone.now() - timedelta(days=7):%Y-%m-%d %H:%M:%S+00:00}"},
            [3, 2, 1],
        ),
    ],
)
def test_history__filters_list_and_export_the_same(
    operator: Client, history: list[WarmingRun], query: dict[str, str], found: list[int]
) -> None:
    expected = [history[number].pk for number in found]
    assert numbers_of(operator.get(RUNS, query).content.decode()) == expected
    assert [row["run"] for row in exported(operator, **query)] == expected


def test_history__long_names_may_break_at_underscores(operator: Client) -> None:
    runs.open_run("a_job_of<b>", Trigger.COMMAND)
    assert "a_<wbr>job_<wbr>of&lt;b&gt;" in operator.get(RUNS).content.decode()


def test_history__export_links_keep_the_filters(operator: Client, history: list[WarmingRun]) -> None:
    page = operator.get(RUNS, {"job": "posts", "state__exact": "failed"}).content.decode()
    assert f'href="{RUNS}export.csv?job=posts&amp;state__exact=failed"' in page


def test_history__filter_by_job_offers_the_declared_ones_and_the_chosen(
    operator: Client, history: list[WarmingRun]
) -> None:
    page = operator.get(RUNS, {"job": "gone", "state__exact": "complete"}).content.decode()
    for name in ("posts", "popular_posts", "user_profiles"):
        assert f"<option>{name}</option>" in page
    assert "<option selected>gone</option>" in page
    assert '<input type="hidden" name="state__exact" value="complete">' in page


def test_history__export_is_refused_an_unknown_filter_or_format(operator: Client) -> None:
    assert operator.get(f"{RUNS}export.csv", {"password": "x"}).status_code == 400
    assert operator.get(f"{RUNS}export.csv", {"requested_by__password__startswith": "x"}).status_code == 400
    assert operator.get(f"{RUNS}export.xml").status_code == 404


def test_history__csv_has_every_count_and_no_formula(operator: Client, history: list[WarmingRun]) -> None:
    answer = operator.get(f"{RUNS}export.csv")
    assert answer["Content-Disposition"] == 'attachment; filename="runs.csv"'
    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[arg-type]
    assert [int(row["run"]) for row in rows] == [run.pk for run in reversed(history)]
    failed = rows[2]
    assert (failed["job"], failed["state"], failed["written"], failed["took_seconds"]) == (
        "posts",
        "failed",
        "7",
        "2.5",
    )
    assert failed["error"] == "'=HYPERLINK(1)"
    assert failed["requested_by"] == "'@cmd"


def test_history__json_is_plain_data(operator: Client, history: list[WarmingRun]) -> None:
    newest = exported(operator)[0]
    assert newest["job"] == "gone"
    assert newest["requested_by"] is None
    assert newest["requested_at"] == history[3].requested_at.isoformat()
    assert exported(operator, job="popular_posts") == []


def test_history__export_streams_chunk_by_chunk_to_a_bound(
    operator: Client, history: list[WarmingRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "CHUNK", 2)
    with CaptureQueriesContext(connection) as queries:
        assert len(exported(operator)) == 4
    selects = [each for each in queries if 'FROM "warmer_warmingrun"' in each["sql"]]
    assert all("LIMIT" in each["sql"] for each in selects)
    monkeypatch.setattr(export, "MOST_ROWS", 3)
    assert len(exported(operator)) == 3


def test_history__queries_do_not_grow_with_runs(operator: Client, django_assert_max_num_queries: Any) -> None:
    now = timezone.now()
    WarmingRun.objects.bulk_create(
        WarmingRun(job="posts", trigger="admin", state="complete", requested_at=now, expires_at=now)
        for _ in range(120)
    )
    operator.get(RUNS)
    with CaptureQueriesContext(connection) as queries:
        page = operator.get(RUNS).content.decode()
    assert len(queries) <= 9
    assert len(numbers_of(page)) == 50
    for each in queries:
        assert "DISTINCT" not in each["sql"]
        assert "COUNT" not in each["sql"] or "LIMIT" in each["sql"]


def test_history__counts_to_a_bound(operator: Client, history: list[WarmingRun], monkeypatch: Any) -> None:
    monkeypatch.setattr(filters, "MOST_LISTED", 3)
    monkeypatch.setattr("warmer.admin.runs.MOST_LISTED", 3)
    page = operator.get(RUNS).content.decode()
    assert "3 runs" in page
    assert "The first 3 are listed" in page
