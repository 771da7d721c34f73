"""The runs: their list, filters and export; the page of each, its progress, and cancelling it."""

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.package.admin.pages import AUDITS, POSTS, RUNS, act, log, page_of, report, run_of, text_of
from warmer import runs, warm_many
from warmer.admin import base, export
from warmer.models import State, Trigger, WarmingRun
from warmer.report import Failure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
MASKS = {r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "TIME", r"\d\d:\d\d:\d\d": "TIME", r"\b(run|Run) \d+": r"\1 N"}


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


def numbers_of(page: str) -> list[int]:
    return [int(part.split("/")[0]) for part in page.split(f'href="{RUNS}')[1:] if "/change/" in part[:20]]


def exported(client: Client, **query: str) -> list[dict[str, str]]:
    answer: Any = client.get(f"{RUNS}export.csv", query)
    assert answer["Content-Disposition"] == 'attachment; filename="runs.csv"'
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


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
        (
            {"requested_at__gte": f"{timezone.now() - timedelta(days=7):%Y-%m-%d %H:%M:%S+00:00}"},
            [3, 2, 1],
        ),
    ],
)
def test_list__filters_list_and_export_the_same(
    operator: Client, history: list[WarmingRun], query: dict[str, str], found: list[int]
) -> None:
    expected = [history[number].pk for number in found]
    assert numbers_of(operator.get(RUNS, query).content.decode()) == expected
    assert [int(row["run"]) for row in exported(operator, **query)] == expected


def test_list__export_links_and_filter_keep_the_other_filters(
    operator: Client, history: list[WarmingRun]
) -> None:
    page = operator.get(RUNS, {"job": "gone", "state__exact": "complete"}).content.decode()
    assert f'href="{RUNS}export.csv?job=gone&amp;state__exact=complete"' in page
    assert "<option selected>gone</option>" in page
    assert '<input type="hidden" name="state__exact" value="complete">' in page


def test_list__has_the_error_in_a_line_and_links_the_job(
    operator: Client, log_in: Callable[..., Client]
) -> None:
    run_of("posts", State.FAILED, error="E: first <b>" + "x" * 200 + "\nsecond")
    page = operator.get(RUNS).content.decode()
    assert "E: first &lt;b&gt;xxx" in page
    assert "x" * 101 not in page
    assert "second" not in page
    assert f'<a href="{POSTS}">posts</a>' in page
    assert f'href="{POSTS}"' not in log_in("view_warmingrun", username="otto").get(RUNS).content.decode()


def test_list__names_may_break_at_underscores(operator: Client) -> None:
    runs.open_run("a_job_of<b>", Trigger.COMMAND)
    assert "a_<wbr>job_<wbr>of&lt;b&gt;" in operator.get(RUNS).content.decode()


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


def test_list__counts_to_a_bound(
    operator: Client, history: list[WarmingRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MAX_LISTED", 3)
    monkeypatch.setattr("warmer.admin.runs.MAX_LISTED", 3)
    assert "first 3 runs" in operator.get(RUNS).content.decode()


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
    assert rows[0]["requested_at"] == history[3].requested_at.isoformat()
    failed = rows[2]
    assert (failed["job"], failed["state"], failed["written"]) == ("posts", "failed", "7")
    assert failed["took_seconds"] == "2.5"
    assert (failed["error"], failed["requested_by"]) == ("'=HYPERLINK(1)", "'@cmd")


def test_export__json_has_plain_values(operator: Client, history: list[WarmingRun]) -> None:
    answer: Any = operator.get(f"{RUNS}export.json")
    rows = json.loads(b"".join(answer.streaming_content))
    assert [row["run"] for row in rows] == [run.pk for run in reversed(history)]
    failed = rows[2]
    assert (failed["took_seconds"], failed["written"], failed["error"]) == (2.5, 7, "=HYPERLINK(1)")
    none: Any = operator.get(f"{RUNS}export.json", {"job": "popular_posts"})
    assert json.loads(b"".join(none.streaming_content)) == []


def test_export__streams_chunk_by_chunk_to_a_bound(
    operator: Client, history: list[WarmingRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "CHUNK", 2)
    with CaptureQueriesContext(connection) as queries:
        assert len(exported(operator)) == 4
    selects = [each for each in queries if 'FROM "warmer_warmingrun"' in each["sql"]]
    assert all("LIMIT" in each["sql"] for each in selects)
    monkeypatch.setattr(export, "MAX_ROWS", 3)
    assert len(exported(operator)) == 3


def test_page(golden: Callable[..., None], operator: Client, run: WarmingRun) -> None:
    started = timezone.now() - timedelta(seconds=10)
    failures = tuple(
        Failure(key=key, error=error)
        for key, error in {"post:7": "ValueError: no", "post:8": "E: <b>", "post:9": "ValueError: no"}.items()
    )
    counts = {"skipped": 3, "no_value": 2, "failed": 25, "queries": 5}
    seconds = {"load_seconds": 1.5, "encode_seconds": 0.5, "write_seconds": 1.75, "wait_seconds": 0.25}
    runs.record_batches(run, {2: report(failures=failures, **counts, **seconds)}, worker="w2@host")
    active = text_of(page_of(operator, run))
    runs.fail(run, "It broke.")
    WarmingRun.objects.update(started_at=started, finished_at=started + timedelta(seconds=10))
    texts = [active, text_of(page_of(operator, run))]
    masks = MASKS | {r"Duration \d+\.\d+": "Duration N", r"Rate [\d.]+": "Rate N", r"left \d+ s": "left N s"}
    golden("admin_run", "\n\n".join(texts), masks=masks)


def context_of(client: Client, run: WarmingRun) -> Any:
    return client.get(f"{RUNS}{run.pk}/change/").context


def test_page__of_an_active_run_updates_itself(operator: Client, run: WarmingRun) -> None:
    page = page_of(operator, run)
    assert 'data-warmer-live="1" data-warmer-phase="active"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "warmer/live.js" in page
    runs.fail(run, "over")
    page = page_of(operator, run)
    assert not any(text in page for text in ("http-equiv", "data-warmer-live", "live.js"))


def test_page__live_is_the_same_without_the_frame(operator: Client, run: WarmingRun) -> None:
    alone = page_of(operator, run, live="1")
    assert "<html" not in alone
    assert 'data-warmer-count="written">90</td>' in alone
    parts = ("progress", "keys", "request", "work", "batches")
    assert all(f'data-warmer-part="{name}"' in alone for name in parts)


def test_page__of_a_real_run_with_a_failing_loader(operator: Client) -> None:
    def loader(ids: Any) -> Any:
        raise ValueError("no luck <b>")

    warm_many("x:{id}", ids=lambda: [1], name="x")(loader)
    page = operator.get(act(operator, "warm x")["Location"]).content.decode()
    assert "<code>x:1</code>" in page
    assert "ValueError: no luck &lt;b&gt;" in page
    assert 'class="warmer-bar-failed"' in page


def test_page__links_each_key_to_its_object_and_the_runs_before_and_after(
    operator: Client, log_in: Callable[..., Client], make_post: Any
) -> None:
    post = make_post()
    failures = [{"key": f"post:{id}", "error": "E: no"} for id in (post.pk, "x y")]
    before, run, after = (run_of("posts", State.FAILED, failed=2, failures=failures) for _ in range(3))
    run_of("popular_posts")
    page = page_of(operator, run)
    assert f"{RUNS}{before.pk}/change/" in page
    assert f"{RUNS}{after.pk}/change/" in page
    assert numbers_of(page_of(operator, after)) == [run.pk]
    url = f"/admin/myapp/post/{post.pk}/change/"
    assert url not in page  # which the operator may not see
    page = page_of(log_in("view_warmingrun", "view_post", username="otto"), run)
    assert f'<a href="{url}"><code>post:{post.pk}</code></a>' in page
    assert page.count("/admin/myapp/post/") == 1 + ('href="/admin/myapp/post/"' in page)


def test_retry__warms_the_named_keys_only(operator: Client, make_post: Any) -> None:
    posts = [make_post() for _ in range(3)]
    failures = [{"key": f"post:{post.pk}", "error": "E: no"} for post in posts[:2]]
    failed = run_of("posts", State.FAILED, failed=2, failures=failures)
    assert "Retry these 2 keys" in page_of(operator, failed)
    url = f"{RUNS}{failed.pk}/change/"
    answer = operator.post(url, {"action": "retry", "why": "fixed"})
    run = WarmingRun.objects.latest("pk")
    assert answer["Location"] == f"{RUNS}{run.pk}/change/"
    assert (run.trigger, run.requested_by, run.state, run.written) == ("admin", "olga", State.COMPLETE, 2)
    assert [cache.get(f"post:{post.pk}") is not None for post in posts] == [True, True, False]
    assert log() == [("olga", "posts", f"Retry of 2 keys: run {run.pk}. Reason: fixed")]
    assert "2 keys that failed before" in page_of(operator, run)
    assert 'value="retry"' not in page_of(operator, run)


@pytest.mark.parametrize("job", ["gone", "posts"])
def test_retry__where_there_is_nothing_to_retry_is_403(operator: Client, job: str) -> None:
    failures = [{"key": "gone:1", "error": "E: no"}] if job == "gone" else []
    run = run_of(job, State.FAILED, failed=1, failures=failures)
    assert 'value="retry"' not in page_of(operator, run)
    assert operator.post(f"{RUNS}{run.pk}/change/", {"action": "retry"}).status_code == 403


def test_page__costs_few_queries_and_rows(
    operator: Client, run: WarmingRun, django_assert_max_num_queries: Any
) -> None:
    WarmingRun.objects.update(batches_total=200)
    for number in range(2, 120):
        runs.record_batches(run, {number: report(written=1)}, worker=f"w{number}@host")
    page_of(operator, run, live="1")
    with django_assert_max_num_queries(8):  # two of them for who asks
        page = page_of(operator, run, live="1")
    assert page.count('<td class="warmer-number">') == 50
    assert len(context_of(operator, run)["workers"]) == 20
    assert "and 69 more" in page


def test_page__of_a_long_run_says_that_not_every_batch_is_kept(operator: Client, run: WarmingRun) -> None:
    WarmingRun.objects.update(batches_done=900)
    assert "Only 1 batch of 900" in page_of(operator, run)


def test_page__of_a_job_that_is_gone(operator: Client) -> None:
    assert "<td>gone" in page_of(operator, runs.open_run("gone", Trigger.COMMAND).run)


def test_page__no_inline_script_or_style(operator: Client, run: WarmingRun) -> None:
    page = page_of(operator, run)
    content = page[page.index('<div id="content"') : page.index("<!-- END Content -->")]
    assert "<script" not in content
    assert "style=" not in content


def test_page__of_no_run_is_404(operator: Client) -> None:
    url = f"{RUNS}99999/change/"
    assert operator.get(url).status_code == operator.post(url).status_code == 404


def test_progress__of_batches_and_time(operator: Client, run: WarmingRun) -> None:
    told = context_of(operator, run)
    assert (told["percent"], told["total_keys"]) == (25, 100)
    assert told["keys_per_second"] * 10 == pytest.approx(100, rel=0.2)
    assert told["seconds_left"] == pytest.approx(30, rel=0.2)
    runs.fail(run, "broken")
    assert context_of(operator, run)["seconds_left"] is None


def test_progress__without_a_total_goes_by_the_last_complete_run(operator: Client) -> None:
    before = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert before is not None
    runs.record_batches(before, {1: report(written=200)})
    runs.expect(before, batches=1, report=report(batches=0))
    now = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert now is not None
    for number, (written, percent) in enumerate([(50, 25), (500, 99)]):
        runs.record_batches(now, {number: report(written=written)})
        assert context_of(operator, now)["percent"] == percent


def test_progress__of_a_first_run_without_a_total_is_unknown(operator: Client) -> None:
    now = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert now is not None
    told = context_of(operator, now)
    assert (told["percent"], told["seconds_left"], told["keys_per_second"]) == (None, None, 0)


def test_cancel__ends_the_run_with_who_and_why(operator: Client, run: WarmingRun) -> None:
    assert "Cancel this run" in page_of(operator, run)
    url = f"{RUNS}{run.pk}/change/"
    answer = operator.post(url, {"action": "cancel", "why": "too slow"}, follow=True)
    assert answer.redirect_chain == [(url, 302)]
    assert "Cancel this run" not in answer.content.decode()
    run.refresh_from_db()
    assert (run.state, run.written) == (State.CANCELLED, 90)
    assert all(word in run.error for word in ("olga", "too slow"))
    assert log() == [("olga", str(run.pk), "Cancelled. Reason: too slow")]


def test_cancel__counts_the_batches_that_were_loading(operator: Client, run: WarmingRun) -> None:
    assert runs.cancel(run, "ada")
    assert 'data-warmer-phase="final"' in page_of(operator, run)
    runs.record_batches(run, {2: report(written=7)}, worker="w2@host")
    assert 'data-warmer-count="written">97</td>' in page_of(operator, run)
    past = timezone.now() - timedelta(minutes=2)
    WarmingRun.objects.update(started_at=past, heartbeat_at=past, finished_at=past)
    assert "data-warmer-live" not in page_of(operator, run)


def test_cancel__of_a_queued_run_is_over_at_once(operator: Client) -> None:
    queued = runs.open_run("posts", Trigger.COMMAND).run
    page = operator.post(f"{RUNS}{queued.pk}/change/", {"action": "cancel"}, follow=True).content.decode()
    assert "had not started" in page
    assert "data-warmer-live" not in page


def test_cancel__of_an_ended_run_does_nothing(operator: Client, run: WarmingRun) -> None:
    runs.fail(run, "broken")
    page = operator.post(f"{RUNS}{run.pk}/change/", {"action": "cancel"}, follow=True).content.decode()
    assert "had already ended" in page
    assert log() == []
