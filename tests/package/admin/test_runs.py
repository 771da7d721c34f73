"""The lists of runs and of audits: their filters, the export of runs, and the page of an audit."""

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from myapp.models import Post
from tests.package.admin.pages import AUDITS, MASKS, POSTS, RUNS, act, audit, log, numbers_of, run_of, state_of, text_of
from tests.support.waiting import uncaptured
from warmer import jobs
from warmer.admin import base
from warmer.models import CacheAudit, State, Trigger, WarmingRun

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
        requested = now - timedelta(days=days)
        fields: dict[str, Any] = {"requested_at": requested, "started_at": requested, "written": 7}
        fields |= {"trigger": trigger, "finished_at": requested + timedelta(seconds=2.5)}
        if state == State.FAILED:
            fields |= {"error": "=HYPERLINK(1)", "requested_by": "@cmd"}
        made.append(run_of(job, state, **fields))
    return made


def exported(client: Client, **query: str) -> list[dict[str, str]]:
    answer: Any = client.get(f"{RUNS}export.csv", query)
    assert answer["Content-Disposition"] == 'attachment; filename="runs.csv"'
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def test_list(golden: Callable[..., None], operator: Client, history: list[WarmingRun]) -> None:
    masks = MASKS | {rf"^{run.pk}\b": "N" for run in history}
    golden("admin_runs", text_of(operator.get(RUNS).content.decode()), masks=masks)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [3, 2, 1, 0]),
        ({"job": "posts"}, [1, 0]),
        ({"job": "gone"}, [3]),
        ({"trigger__exact": "admin"}, [2, 1]),
        ({"state__exact": "failed"}, [1]),
        ({"job": "posts", "state__exact": "complete"}, [0]),
        ({"requested_at__gte": f"{timezone.now() - timedelta(days=7):%Y-%m-%d %H:%M:%S+00:00}"}, [3, 2, 1]),
    ],
)
def test_list__filters_list_and_export_the_same(
    operator: Client, history: list[WarmingRun], query: dict[str, str], found: list[int]
) -> None:
    expected = [history[number].pk for number in found]
    assert numbers_of(operator.get(RUNS, query).content.decode()) == expected
    assert [int(row["run"]) for row in exported(operator, **query)] == expected


def test_list__export_links_and_filter_keep_the_other_filters(operator: Client, history: list[WarmingRun]) -> None:
    page = operator.get(RUNS, {"job": "posts", "state__exact": "complete"}).content.decode()
    assert f'href="{RUNS}export.csv?job=posts&amp;state__exact=complete"' in page
    assert "<option selected>posts</option>" in page
    assert '<input type="hidden" name="state__exact" value="complete">' in page


def test_list__has_the_error_in_a_line_and_links_the_job(operator: Client) -> None:
    run_of("posts", State.FAILED, error="E: first <b>" + "x" * 200 + "\nsecond")
    page = operator.get(RUNS).content.decode()
    assert "E: first &lt;b&gt;xxx" in page
    assert "x" * 101 not in page
    assert "second" not in page
    assert f'<a href="{POSTS}">posts</a>' in page


def test_list__queries_do_not_grow_with_runs(operator: Client) -> None:
    for _ in range(120):
        run_of("posts")
    operator.get(RUNS)
    with CaptureQueriesContext(connection) as queries:
        page = operator.get(RUNS).content.decode()
    assert len(queries) <= 9
    assert len(numbers_of(page)) == 50
    for each in queries:
        assert "DISTINCT" not in each["sql"]
        assert "COUNT" not in each["sql"] or "LIMIT" in each["sql"]


def test_export__unknown_filter_or_format_is_refused(operator: Client) -> None:
    assert operator.get(f"{RUNS}export.xml").status_code == 404
    assert operator.get(f"{RUNS}export.csv", {"password": "x"}).status_code == 400
    assert operator.get(f"{RUNS}export.csv", {"requested_by__password__startswith": "x"}).status_code == 400


@pytest.mark.parametrize("query", ["job=a%00b", "state__exact=%00", "job=posts&job=%00", "o=%00"])
def test_list__nul_in_a_filter_is_refused(operator: Client, query: str) -> None:
    for page in (RUNS, AUDITS):
        assert operator.get(f"{page}?{query}").headers["Location"].endswith("?e=1")
    assert operator.get(f"{RUNS}export.csv?{query}").status_code == 400


def test_export__csv_has_every_count_and_no_formula(operator: Client, history: list[WarmingRun]) -> None:
    rows = exported(operator)
    assert [int(row["run"]) for row in rows] == [run.pk for run in reversed(history)]
    assert rows[0]["requested_at"] == str(history[3].requested_at)
    failed = rows[2]
    assert (failed["job"], failed["state"], failed["written"]) == ("posts", "failed", "7")
    assert failed["took_seconds"] == "2.5"
    assert (failed["error"], failed["requested_by"]) == ("'=HYPERLINK(1)", "'@cmd")


def test_export__json_has_plain_values(operator: Client, history: list[WarmingRun]) -> None:
    rows = operator.get(f"{RUNS}export.json").json()
    assert [row["run"] for row in rows] == [run.pk for run in reversed(history)]
    failed = rows[2]
    assert failed["work_seconds"] == 0
    assert (failed["took_seconds"], failed["written"], failed["error"]) == (2.5, 7, "=HYPERLINK(1)")
    assert operator.get(f"{RUNS}export.json", {"job": "popular_posts"}).json() == []


def test_list_and_export__have_a_bound(
    operator: Client, history: list[WarmingRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.CappedPaginator, "cap", 3)
    assert "newest 3 runs" in operator.get(RUNS).content.decode()
    assert len(exported(operator)) == 3


# -- audits ----------------------------------------------------------------------------------------------
def test_audits__list_and_page(golden: Callable[..., None], operator: Client) -> None:
    shown = [
        audit(),
        audit(whole=False),
        audit("a_job", sampled=1_240, missing=1_235),
        audit(
            sampled=10,
            right=7,
            wrong=2,
            failed=1,
            repaired=2,
            wrong_keys=[{"key": "post:1", "fields": ["title", "author.name"]}],
            failures=[{"key": "post:<b>", "error": "ValueError: no"}],
            error="The loader broke.",
        ),
    ]
    pages = [AUDITS, *(f"{AUDITS}{each.pk}/change/" for each in shown)]
    texts = [text_of(operator.get(url).content.decode()) for url in pages]
    masks = MASKS | {r"^\d+ (a_job|posts)": r"N \1", r"([aA]udit) \d+": r"\1 N"}
    golden("admin_audits", "\n\n".join(texts), masks=masks)


def test_audit__that_is_gone_is_404(operator: Client, log_in: Callable[..., Client]) -> None:
    other = log_in("view_job")
    for url in (f"{AUDITS}999/change/", f"{AUDITS}x/change/"):
        assert operator.get(url).status_code == operator.post(url).status_code == 404
        # Users who may not see audits are not told which there are.
        assert other.get(url).status_code == 403


def test_audits__filters(operator: Client) -> None:
    wrong, right = audit(wrong=1), audit("popular_posts")
    for query, found in (
        ({"wrong": "yes"}, [wrong]),
        ({"wrong": "no"}, [right]),
        ({"job": "posts"}, [wrong]),
        ({"wrong": "x"}, [right, wrong]),
    ):
        page = operator.get(AUDITS, query).content.decode()
        assert re.findall(rf'href="{AUDITS}(\d+)/', page) == [str(each.pk) for each in found], query


def test_audit__links_its_job_and_objects_and_repairs(
    operator: Client, log_in: Callable[..., Client], make_post: Any, settings: Any
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 1
    posts = [make_post(), make_post()]
    jobs["posts"].warm()
    with uncaptured():
        Post.objects.update(title="Behind the back")
    act(operator, "audit posts")
    found = CacheAudit.objects.get()
    url = f"{AUDITS}{found.pk}/change/"
    assert (found.wrong, state_of(operator, "posts")) == (1, "wrong")
    page = operator.get(url).content.decode()
    assert f'<a href="{POSTS}">posts</a>' in page
    assert "/admin/myapp/post/" not in page
    reader = log_in("view_cacheaudit", "view_post", username="otto").get(url).content.decode()
    assert any(f'href="/admin/myapp/post/{post.pk}/change/"' in reader for post in posts)
    assert 'value="repair"' not in reader
    assert f'action="{POSTS}"' in page
    assert 'value="repair"' in page
    act(operator, "repair", "posts", url=POSTS, why="stale")
    again = CacheAudit.objects.latest("pk")
    assert (again.whole, again.wrong, again.repaired, again.trigger) == (True, 2, 2, "admin")
    assert not cache.get_many([f"post:{post.pk}" for post in posts])
    assert log()[-1] == ("olga", "posts", "Queued an audit with repair of posts. Reason: stale")
    assert state_of(operator, "posts") != "wrong"
    assert 'value="repair"' not in operator.get(f"{AUDITS}{again.pk}/change/").content.decode()
