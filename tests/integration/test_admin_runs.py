"""A run's page, its progress, cancelling it; the history and its export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from warmer import ledger, warm_many
from warmer.admin import export, filters
from warmer.models import CacheAudit, State, Trigger, WarmingRun
from warmer.report import Failure, Report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

RUNS = "/admin/warmer/warmingrun/"


def page_of(client: Client, run: WarmingRun) -> str:
    return client.get(f"{RUNS}{run.pk}/change/").content.decode()


def progress_of(client: Client, run: WarmingRun) -> dict[str, Any]:
    return client.get(f"{RUNS}{run.pk}/progress/").json()


def report(**counts: Any) -> Report:
    return Report(job="posts", **{"batches": 1, **counts})


@pytest.fixture
def run(make_user: Any) -> WarmingRun:
    """A running run of the job 'posts', for 10 seconds, with 1 of 4 batches done."""
    user = make_user(username="ada")
    started = ledger.start(ledger.open_run("posts", Trigger.ADMIN, user=user).run.pk, worker="w0@host")
    assert started is not None
    WarmingRun.objects.filter(pk=started.pk).update(started_at=timezone.now() - timedelta(seconds=10))
    ledger.expect(started, batches=4, report=report(queries=1, batches=0))
    ledger.record_batches(
        started, {1: report(written=90, fenced=10, queries=2, seconds=7.5)}, worker="w1@host"
    )
    return started


class TestProgress:
    def test_progress__says_how_far_it_is_and_how_long_it_takes(
        self, operator: Client, run: WarmingRun
    ) -> None:
        told = progress_of(operator, run)
        assert (told["state"], told["final"], told["batches_done"], told["batches_total"]) == (
            "running",
            False,
            1,
            4,
        )
        assert (told["keys"], told["percent"]) == (100, 25)
        assert told["counts"] == {"written": 90, "fresh": 0, "fenced": 10, "absent": 0, "failed": 0}
        assert told["keys_per_second"] * told["seconds"] == pytest.approx(100, rel=0.2)
        assert told["seconds_left"] == pytest.approx(3 * told["seconds"], rel=0.2)

    def test_progress__without_a_total_goes_by_the_last_complete_run(self, operator: Client) -> None:
        before = ledger.start(ledger.open_run("posts", Trigger.COMMAND).run.pk)
        assert before is not None
        ledger.record_batches(before, {1: report(written=200)})
        ledger.expect(before, batches=1, report=report(batches=0))
        now = ledger.start(ledger.open_run("posts", Trigger.COMMAND).run.pk)
        assert now is not None
        ledger.record_batches(now, {1: report(written=50)})
        assert progress_of(operator, now)["percent"] == 25
        ledger.record_batches(now, {2: report(written=500)})
        assert progress_of(operator, now)["percent"] == 99

    def test_progress__of_a_first_run_without_a_total_is_not_known(self, operator: Client) -> None:
        now = ledger.start(ledger.open_run("posts", Trigger.COMMAND).run.pk)
        assert now is not None
        told = progress_of(operator, now)
        assert (told["percent"], told["seconds_left"], told["keys_per_second"]) == (None, None, None)

    def test_progress__of_an_ended_run(self, operator: Client, run: WarmingRun) -> None:
        ledger.fail(run, "broken")
        told = progress_of(operator, run)
        assert (told["final"], told["state"], told["seconds_left"]) == (True, "failed", None)

    def test_progress__costs_few_queries(
        self, operator: Client, run: WarmingRun, django_assert_max_num_queries: Any
    ) -> None:
        progress_of(operator, run)
        with django_assert_max_num_queries(7):  # two of them for who asks
            progress_of(operator, run)
        WarmingRun.objects.update(batches_total=200)
        for number in range(2, 120):
            ledger.record_batches(run, {number: report(written=1)}, worker=f"w{number}@host")
        with django_assert_max_num_queries(8):  # and one for how many batches are not listed
            told = progress_of(operator, run)
        assert told["parts"]["batches"].count("<tr>") == 51
        assert told["parts"]["work"].count("<li>") == 20

    def test_progress__has_what_changes_on_the_page_as_the_page_has_it(
        self, operator: Client, run: WarmingRun
    ) -> None:
        failures = (Failure(key="post:7", error="ValueError: <b>"),)
        ledger.record_batches(
            run,
            {2: report(failed=1, failures=failures, queries=5, load_seconds=1.5, seconds=2)},
            worker="w2@host",
        )
        parts, page = progress_of(operator, run)["parts"], page_of(operator, run)
        assert "<code>post:7</code>: ValueError: &lt;b&gt;" in parts["keys"]
        assert 'data-warmer-count="failed">1</td>' in parts["keys"]
        assert "<td>8</td>" in parts["work"]
        assert "<td>9.50 s</td>" in parts["work"]
        assert "load</th><td>1.500 s" in parts["work"]
        assert "w2@host: 1 batch," in parts["work"]
        assert "<td>w2@host</td>" in parts["batches"]
        assert "admin: ada" in parts["asked"]
        for name, part in parts.items():
            assert f'<div data-warmer-part="{name}">{part}</div>' in page

    def test_progress__of_a_cancelled_run_goes_on_for_the_batches_in_hand(
        self, operator: Client, run: WarmingRun
    ) -> None:
        assert ledger.cancel(run, "ada")
        assert "data-warmer-progress" in page_of(operator, run)
        ledger.record_batches(run, {2: report(written=7)}, worker="w2@host")
        told = progress_of(operator, run)
        assert (told["final"], told["settled"], told["batches_done"]) == (True, False, 2)
        assert 'data-warmer-count="written">97</td>' in told["parts"]["keys"]
        past = timezone.now() - timedelta(minutes=2)
        WarmingRun.objects.update(started_at=past, heartbeat_at=past, finished_at=past)
        assert progress_of(operator, run)["settled"]
        assert "data-warmer-progress" not in page_of(operator, run)

    def test_progress__is_not_kept_by_anybody(self, operator: Client, run: WarmingRun) -> None:
        assert "no-store" in operator.get(f"{RUNS}{run.pk}/progress/")["Cache-Control"]

    def test_progress__needs_the_permission_to_see_runs(
        self, log_in: Callable[..., Client], run: WarmingRun
    ) -> None:
        client = log_in("view_job", "warm_job", "cancel_run")
        assert client.get(f"{RUNS}{run.pk}/progress/").status_code == 403

    def test_progress__of_no_run_is_404(self, operator: Client) -> None:
        assert operator.get(f"{RUNS}99999/progress/").status_code == 404
        assert operator.get(f"{RUNS}99999/change/").status_code == 404
        assert operator.post(f"{RUNS}99999/cancel/").status_code == 404


class TestPage:
    def test_page__of_a_running_one_asks_for_progress_or_reloads_itself(
        self, operator: Client, run: WarmingRun
    ) -> None:
        page = page_of(operator, run)
        assert f'data-warmer-progress="{RUNS}{run.pk}/progress/"' in page
        assert '<noscript><meta http-equiv="refresh"' in page
        assert "warmer/progress.js" in page
        ledger.fail(run, "over")
        page = page_of(operator, run)
        assert "http-equiv" not in page
        assert "data-warmer-progress" not in page
        assert "progress.js" not in page

    def test_page__says_who_asked_what_it_cost_and_who_did_it(
        self, operator: Client, run: WarmingRun
    ) -> None:
        ledger.record_batches(run, {2: report(written=5, queries=2, seconds=1)}, worker="w2@host")
        ledger.record_batches(run, {3: report(written=5, queries=2, seconds=1)}, worker="w2@host")
        page = page_of(operator, run)
        assert "admin: ada" in page
        assert "<td>7</td>" in page  # queries
        assert "<td>9.50 s</td>" in page
        assert "w2@host: 2 batches" in page
        assert "w1@host: 1 batch," in page
        assert "w0@host" in page

    def test_page__counts_every_outcome_and_names_the_failed(self, operator: Client, run: WarmingRun) -> None:
        failures = (Failure(key="post:7", error="ValueError: <script>alert(1)</script>"),)
        ledger.record_batches(run, {2: report(fresh=3, absent=2, failed=25, failures=failures)})
        page = page_of(operator, run)
        for outcome, count in {"written": 90, "fresh": 3, "fenced": 10, "absent": 2, "failed": 25}.items():
            assert f'data-warmer-count="{outcome}">{count}</td>' in page
        assert "<code>post:7</code>: ValueError: &lt;script&gt;" in page
        assert "<script>alert" not in page
        assert "and 24 more" in page

    def test_page__of_a_real_run_with_a_failing_loader(self, operator: Client) -> None:
        def loader(ids: Any) -> Any:
            raise ValueError("no luck")

        warm_many("x:{id}", ids=lambda: [1], name="x")(loader)
        answer = operator.post("/admin/warmer/job/warm/", {"only": "x"})
        page = operator.get(answer["Location"]).content.decode()
        assert "<code>x:1</code>: ValueError: no luck" in page
        assert "Every key failed" in page

    def test_page__lists_a_bounded_number_of_batches(
        self, operator: Client, run: WarmingRun, django_assert_max_num_queries: Any
    ) -> None:
        WarmingRun.objects.update(batches_total=100)
        for number in range(2, 80):
            ledger.record_batches(run, {number: report(written=1)}, worker="w1@host")
        page_of(operator, run)
        with django_assert_max_num_queries(9):
            page = page_of(operator, run)
        assert page.count("<td>w1@host</td>") == 50
        assert "and 29 more" in page

    def test_page__says_what_its_seconds_went_into(self, operator: Client, run: WarmingRun) -> None:
        assert "encode</th>" not in page_of(operator, run)
        seconds = {"load_seconds": 1.5, "encode_seconds": 0.5, "write_seconds": 1.75, "wait_seconds": 0.25}
        ledger.record_batches(run, {2: report(written=1, **seconds)})
        page = " ".join(page_of(operator, run).replace("\xa0", " ").split())
        for name, told in {
            "load": "1.500 s",
            "encode": "0.500 s",
            "write": "1.750 s",
            "wait": "0.250 s",
        }.items():
            assert f'<th scope="row">{name}</th><td>{told} ' in page
        assert "37.5 %" in page

    def test_page__of_a_long_run_says_that_not_every_batch_is_kept(
        self, operator: Client, run: WarmingRun
    ) -> None:
        WarmingRun.objects.update(batches_done=900)
        assert "of 1 batches: of a long run" in page_of(operator, run)

    def test_page__of_a_job_that_is_gone(self, operator: Client) -> None:
        gone = ledger.open_run("gone", Trigger.COMMAND).run
        assert "<td>gone</td>" in page_of(operator, gone)

    def test_page__no_inline_script_or_style(self, operator: Client, run: WarmingRun) -> None:
        page = page_of(operator, run)
        content = page[page.index('<div id="content"') : page.index("<!-- END Content -->")]
        assert "<script" not in content
        assert "<style" not in page
        assert "style=" not in content

    def test_page__can_only_be_looked_at(self, admin_client: Client, run: WarmingRun) -> None:
        assert admin_client.get(f"{RUNS}add/").status_code == 403
        assert admin_client.post(f"{RUNS}{run.pk}/change/", {"state": "complete"}).status_code == 403
        assert admin_client.post(f"{RUNS}{run.pk}/delete/", {"post": "yes"}).status_code == 403
        assert (
            admin_client.post(RUNS, {"action": "delete_selected", "_selected_action": run.pk}).status_code
            != 500
        )
        assert WarmingRun.objects.get().state == State.RUNNING
        assert admin_client.get("/admin/warmer/cacheaudit/add/").status_code == 403

    def test_page__needs_the_permission(self, log_in: Callable[..., Client], run: WarmingRun) -> None:
        client = log_in("view_job", "cancel_run")
        for url in (RUNS, f"{RUNS}{run.pk}/change/", f"{RUNS}export.csv", f"{RUNS}export.json"):
            assert client.get(url).status_code == 403


class TestCancel:
    def test_cancel__ends_the_run_with_who_and_why(self, operator: Client, run: WarmingRun) -> None:
        assert "Cancel this run" in page_of(operator, run)
        answer = operator.post(f"{RUNS}{run.pk}/cancel/", {"why": "too slow"}, follow=True)
        assert answer.redirect_chain == [(f"{RUNS}{run.pk}/change/", 302)]
        page = answer.content.decode()
        assert f"Cancelled: run {run.pk} of posts ends at its next batch" in page
        assert "Cancelled by olga. Why: too slow" in page
        assert "Cancel this run" not in page
        run.refresh_from_db()
        assert (run.state, run.written) == (State.CANCELLED, 90)
        logged = LogEntry.objects.get()
        assert (logged.user.username, logged.object_id, logged.change_message) == (
            "olga",
            str(run.pk),
            "Cancelled. Why: too slow",
        )
        assert logged.get_admin_url() == f"{RUNS}{run.pk}/change/"

    def test_cancel__is_in_the_log_of_the_job_too(self, operator: Client, run: WarmingRun) -> None:
        other = ledger.open_run("popular_posts", Trigger.COMMAND).run
        operator.post(f"{RUNS}{other.pk}/cancel/", {"why": "another job's"})
        operator.post(f"{RUNS}{run.pk}/cancel/", {"why": "too slow"})
        page = operator.get("/admin/warmer/job/posts/schedule/").content.decode()
        log = page[page.index('id="log"') :]
        link = f'<a href="{RUNS}{run.pk}/change/">run {run.pk}</a>'
        assert f"<strong>olga</strong>: {link}: Cancelled. Why: too slow" in log
        assert "another job" not in log

    def test_cancel__of_a_queued_run_says_that_it_had_not_begun(self, operator: Client) -> None:
        queued = ledger.open_run("posts", Trigger.COMMAND).run
        page = operator.post(f"{RUNS}{queued.pk}/cancel/", follow=True).content.decode()
        assert f"Cancelled: run {queued.pk} of posts had not begun." in page
        assert "Cancelled by olga.</span>" in page
        assert "next batch" not in page
        assert "data-warmer-progress" not in page

    def test_cancel__of_an_ended_run_says_so(self, operator: Client, run: WarmingRun) -> None:
        ledger.fail(run, "broken")
        page = operator.post(f"{RUNS}{run.pk}/cancel/", follow=True).content.decode()
        assert "had ended already: it is failed" in page
        assert not LogEntry.objects.exists()

    def test_cancel__without_the_permission_there_is_no_button_and_it_is_403(
        self, log_in: Callable[..., Client], run: WarmingRun
    ) -> None:
        client = log_in("view_warmingrun", "view_job", "warm_job", "pause_job", "edit_schedule")
        assert "Cancel this run" not in page_of(client, run)
        assert client.post(f"{RUNS}{run.pk}/cancel/").status_code == 403
        run.refresh_from_db()
        assert run.state == State.RUNNING

    def test_cancel__with_the_permission_alone(self, log_in: Callable[..., Client], run: WarmingRun) -> None:
        assert log_in("cancel_run").post(f"{RUNS}{run.pk}/cancel/").status_code == 302
        run.refresh_from_db()
        assert run.state == State.CANCELLED

    def test_cancel__by_get_is_405_and_without_the_csrf_token_403(
        self, operator: Client, run: WarmingRun
    ) -> None:
        assert operator.get(f"{RUNS}{run.pk}/cancel/").status_code == 405
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = operator.cookies
        assert strict.post(f"{RUNS}{run.pk}/cancel/").status_code == 403
        run.refresh_from_db()
        assert run.state == State.RUNNING


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


class TestHistory:
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
        self, operator: Client, history: list[WarmingRun], query: dict[str, str], found: list[int]
    ) -> None:
        expected = [history[number].pk for number in found]
        assert numbers_of(operator.get(RUNS, query).content.decode()) == expected
        assert [row["run"] for row in exported(operator, **query)] == expected

    def test_history__long_names_may_break_at_underscores(self, operator: Client) -> None:
        ledger.open_run("a_job_of<b>", Trigger.COMMAND)
        assert "a_<wbr>job_<wbr>of&lt;b&gt;" in operator.get(RUNS).content.decode()

    def test_history__export_links_keep_the_filters(
        self, operator: Client, history: list[WarmingRun]
    ) -> None:
        page = operator.get(RUNS, {"job": "posts", "state__exact": "failed"}).content.decode()
        assert f'href="{RUNS}export.csv?job=posts&amp;state__exact=failed"' in page

    def test_history__filter_by_job_offers_the_declared_ones_and_the_chosen(
        self, operator: Client, history: list[WarmingRun]
    ) -> None:
        page = operator.get(RUNS, {"job": "gone", "state__exact": "complete"}).content.decode()
        for name in ("posts", "popular_posts", "user_profiles"):
            assert f"<option>{name}</option>" in page
        assert "<option selected>gone</option>" in page
        assert '<input type="hidden" name="state__exact" value="complete">' in page

    def test_history__export_is_refused_an_unknown_filter_or_format(self, operator: Client) -> None:
        assert operator.get(f"{RUNS}export.csv", {"password": "x"}).status_code == 400
        assert (
            operator.get(f"{RUNS}export.csv", {"requested_by__password__startswith": "x"}).status_code == 400
        )
        assert operator.get(f"{RUNS}export.xml").status_code == 404

    def test_history__csv_has_every_count_and_no_formula(
        self, operator: Client, history: list[WarmingRun]
    ) -> None:
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

    def test_history__json_is_plain_data(self, operator: Client, history: list[WarmingRun]) -> None:
        newest = exported(operator)[0]
        assert newest["job"] == "gone"
        assert newest["requested_by"] is None
        assert newest["requested_at"] == history[3].requested_at.isoformat()
        assert exported(operator, job="popular_posts") == []

    def test_history__export_streams_chunk_by_chunk_to_a_bound(
        self, operator: Client, history: list[WarmingRun], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(export, "CHUNK", 2)
        with CaptureQueriesContext(connection) as queries:
            assert len(exported(operator)) == 4
        selects = [each for each in queries if 'FROM "warmer_warmingrun"' in each["sql"]]
        assert all("LIMIT" in each["sql"] for each in selects)
        monkeypatch.setattr(export, "MOST_ROWS", 3)
        assert len(exported(operator)) == 3

    def test_history__queries_do_not_grow_with_runs(
        self, operator: Client, django_assert_max_num_queries: Any
    ) -> None:
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

    def test_history__counts_to_a_bound(
        self, operator: Client, history: list[WarmingRun], monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(filters, "MOST_LISTED", 3)
        monkeypatch.setattr("warmer.admin.runs.MOST_LISTED", 3)
        page = operator.get(RUNS).content.decode()
        assert "3 runs" in page
        assert "The first 3 are listed" in page


def test_audits__list(operator: Client) -> None:
    now = timezone.now()
    counts = dict.fromkeys(("wrong", "missing", "absent", "changed", "failed", "undeclared", "repaired"), 0)
    CacheAudit.objects.create(
        job="posts", trigger="admin", started_at=now, whole=True, sampled=9, right=9, queries=1, **counts
    )
    counts["missing"] = 1_234
    CacheAudit.objects.create(
        job="a_job", trigger="admin", started_at=now, whole=True, sampled=1_235, right=1, queries=1, **counts
    )
    page = operator.get("/admin/warmer/cacheaudit/").content.decode()
    assert "100 %" in page
    assert "9 right" in page
    assert "1 right, 1,234 missing" in page
    assert "a_<wbr>job" in page
    assert "warmer/admin.css" in page
