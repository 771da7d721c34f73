"""A run's page, and cancelling it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from tests.integration.admin.pages import RUNS
from tests.integration.admin.runs import page_of, report
from warmer import runs, warm_many
from warmer.models import State, Trigger, WarmingRun
from warmer.report import Failure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_page__of_a_running_one_asks_for_progress_or_reloads_itself(
    operator: Client, run: WarmingRun
) -> None:
    page = page_of(operator, run)
    assert f'data-warmer-progress="{RUNS}{run.pk}/progress/"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "warmer/progress.js" in page
    runs.fail(run, "over")
    page = page_of(operator, run)
    assert "http-equiv" not in page
    assert "data-warmer-progress" not in page
    assert "progress.js" not in page


def test_page__says_who_asked_what_it_cost_and_who_did_it(operator: Client, run: WarmingRun) -> None:
    runs.record_batches(run, {2: report(written=5, queries=2, seconds=1)}, worker="w2@host")
    runs.record_batches(run, {3: report(written=5, queries=2, seconds=1)}, worker="w2@host")
    page = page_of(operator, run)
    assert "admin: ada" in page
    assert "<td>7</td>" in page  # queries
    assert "<td>9.50 s</td>" in page
    assert "w2@host: 2 batches" in page
    assert "w1@host: 1 batch," in page
    assert "w0@host" in page


def test_page__counts_every_outcome_and_names_the_failed(operator: Client, run: WarmingRun) -> None:
    failures = (Failure(key="post:7", error="ValueError: <script>alert(1)</script>"),)
    runs.record_batches(run, {2: report(skipped=3, no_value=2, failed=25, failures=failures)})
    page = page_of(operator, run)
    for outcome, count in {
        "written": 90,
        "skipped": 3,
        "superseded": 10,
        "no_value": 2,
        "failed": 25,
    }.items():
        assert f'data-warmer-count="{outcome}">{count}</td>' in page
    assert "<code>post:7</code>: ValueError: &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "and 24 more" in page


def test_page__of_a_real_run_with_a_failing_loader(operator: Client) -> None:
    def loader(ids: Any) -> Any:
        raise ValueError("no luck")

    warm_many("x:{id}", ids=lambda: [1], name="x")(loader)
    answer = operator.post("/admin/warmer/job/warm/", {"only": "x"})
    page = operator.get(answer["Location"]).content.decode()
    assert "<code>x:1</code>: ValueError: no luck" in page
    assert "Every key failed" in page


def test_page__lists_a_bounded_number_of_batches(
    operator: Client, run: WarmingRun, django_assert_max_num_queries: Any
) -> None:
    WarmingRun.objects.update(batches_total=100)
    for number in range(2, 80):
        runs.record_batches(run, {number: report(written=1)}, worker="w1@host")
    page_of(operator, run)
    with django_assert_max_num_queries(9):
        page = page_of(operator, run)
    assert page.count("<td>w1@host</td>") == 50
    assert "and 29 more" in page


def test_page__says_what_its_seconds_went_into(operator: Client, run: WarmingRun) -> None:
    assert "encode</th>" not in page_of(operator, run)
    seconds = {"load_seconds": 1.5, "encode_seconds": 0.5, "write_seconds": 1.75, "wait_seconds": 0.25}
    runs.record_batches(run, {2: report(written=1, **seconds)})
    page = " ".join(page_of(operator, run).replace("\xa0", " ").split())
    for name, told in {
        "load": "1.500 s",
        "encode": "0.500 s",
        "write": "1.750 s",
        "wait": "0.250 s",
    }.items():
        assert f'<th scope="row">{name}</th><td>{told} ' in page
    assert "37.5 %" in page


def test_page__of_a_long_run_says_that_not_every_batch_is_kept(operator: Client, run: WarmingRun) -> None:
    WarmingRun.objects.update(batches_done=900)
    assert "of 1 batches: of a long run" in page_of(operator, run)


def test_page__of_a_job_that_is_gone(operator: Client) -> None:
    gone = runs.open_run("gone", Trigger.COMMAND).run
    assert "<td>gone</td>" in page_of(operator, gone)


def test_page__no_inline_script_or_style(operator: Client, run: WarmingRun) -> None:
    page = page_of(operator, run)
    content = page[page.index('<div id="content"') : page.index("<!-- END Content -->")]
    assert "<script" not in content
    assert "<style" not in page
    assert "style=" not in content


def test_page__can_only_be_looked_at(admin_client: Client, run: WarmingRun) -> None:
    assert admin_client.get(f"{RUNS}add/").status_code == 403
    assert admin_client.post(f"{RUNS}{run.pk}/change/", {"state": "complete"}).status_code == 403
    assert admin_client.post(f"{RUNS}{run.pk}/delete/", {"post": "yes"}).status_code == 403
    assert (
        admin_client.post(RUNS, {"action": "delete_selected", "_selected_action": run.pk}).status_code != 500
    )
    assert WarmingRun.objects.get().state == State.RUNNING
    assert admin_client.get("/admin/warmer/cacheaudit/add/").status_code == 403


def test_page__needs_the_permission(log_in: Callable[..., Client], run: WarmingRun) -> None:
    client = log_in("view_job", "cancel_run")
    for url in (RUNS, f"{RUNS}{run.pk}/change/", f"{RUNS}export.csv", f"{RUNS}export.json"):
        assert client.get(url).status_code == 403


def test_cancel__ends_the_run_with_who_and_why(operator: Client, run: WarmingRun) -> None:
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


def test_cancel__is_in_the_log_of_the_job_too(operator: Client, run: WarmingRun) -> None:
    other = runs.open_run("popular_posts", Trigger.COMMAND).run
    operator.post(f"{RUNS}{other.pk}/cancel/", {"why": "another job's"})
    operator.post(f"{RUNS}{run.pk}/cancel/", {"why": "too slow"})
    page = operator.get("/admin/warmer/job/posts/schedule/").content.decode()
    log = page[page.index('id="log"') :]
    link = f'<a href="{RUNS}{run.pk}/change/">run {run.pk}</a>'
    assert f"<strong>olga</strong>: {link}: Cancelled. Why: too slow" in log
    assert "another job" not in log


def test_cancel__of_a_queued_run_says_that_it_had_not_begun(operator: Client) -> None:
    queued = runs.open_run("posts", Trigger.COMMAND).run
    page = operator.post(f"{RUNS}{queued.pk}/cancel/", follow=True).content.decode()
    assert f"Cancelled: run {queued.pk} of posts had not begun." in page
    assert "Cancelled by olga.</span>" in page
    assert "next batch" not in page
    assert "data-warmer-progress" not in page


def test_cancel__of_an_ended_run_says_so(operator: Client, run: WarmingRun) -> None:
    runs.fail(run, "broken")
    page = operator.post(f"{RUNS}{run.pk}/cancel/", follow=True).content.decode()
    assert "had ended already: it is failed" in page
    assert not LogEntry.objects.exists()


def test_cancel__without_the_permission_there_is_no_button_and_it_is_403(
    log_in: Callable[..., Client], run: WarmingRun
) -> None:
    client = log_in("view_warmingrun", "view_job", "warm_job", "pause_job", "edit_schedule")
    assert "Cancel this run" not in page_of(client, run)
    assert client.post(f"{RUNS}{run.pk}/cancel/").status_code == 403
    run.refresh_from_db()
    assert run.state == State.RUNNING


def test_cancel__with_the_permission_alone(log_in: Callable[..., Client], run: WarmingRun) -> None:
    assert log_in("cancel_run").post(f"{RUNS}{run.pk}/cancel/").status_code == 302
    run.refresh_from_db()
    assert run.state == State.CANCELLED


def test_cancel__by_get_is_405_and_without_the_csrf_token_403(operator: Client, run: WarmingRun) -> None:
    assert operator.get(f"{RUNS}{run.pk}/cancel/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(f"{RUNS}{run.pk}/cancel/").status_code == 403
    run.refresh_from_db()
    assert run.state == State.RUNNING
