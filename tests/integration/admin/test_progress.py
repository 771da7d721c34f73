"""What the page of a run under way is told: how far it is, and when it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.integration.admin.pages import RUNS
from tests.integration.admin.runs import page_of, progress_of, report
from warmer import runs
from warmer.models import Trigger, WarmingRun
from warmer.report import Failure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_progress__says_how_far_it_is_and_how_long_it_takes(operator: Client, run: WarmingRun) -> None:
    told = progress_of(operator, run)
    assert (told["state"], told["final"], told["batches_done"], told["batches_total"]) == (
        "running",
        False,
        1,
        4,
    )
    assert (told["keys"], told["percent"]) == (100, 25)
    assert told["counts"] == {"written": 90, "skipped": 0, "superseded": 10, "no_value": 0, "failed": 0}
    assert told["keys_per_second"] * told["seconds"] == pytest.approx(100, rel=0.2)
    assert told["seconds_left"] == pytest.approx(3 * told["seconds"], rel=0.2)


def test_progress__without_a_total_goes_by_the_last_complete_run(operator: Client) -> None:
    before = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert before is not None
    runs.record_batches(before, {1: report(written=200)})
    runs.expect(before, batches=1, report=report(batches=0))
    now = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert now is not None
    runs.record_batches(now, {1: report(written=50)})
    assert progress_of(operator, now)["percent"] == 25
    runs.record_batches(now, {2: report(written=500)})
    assert progress_of(operator, now)["percent"] == 99


def test_progress__of_a_first_run_without_a_total_is_not_known(operator: Client) -> None:
    now = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert now is not None
    told = progress_of(operator, now)
    assert (told["percent"], told["seconds_left"], told["keys_per_second"]) == (None, None, None)


def test_progress__of_an_ended_run(operator: Client, run: WarmingRun) -> None:
    runs.fail(run, "broken")
    told = progress_of(operator, run)
    assert (told["final"], told["state"], told["seconds_left"]) == (True, "failed", None)


def test_progress__costs_few_queries(
    operator: Client, run: WarmingRun, django_assert_max_num_queries: Any
) -> None:
    progress_of(operator, run)
    with django_assert_max_num_queries(7):  # two of them for who asks
        progress_of(operator, run)
    WarmingRun.objects.update(batches_total=200)
    for number in range(2, 120):
        runs.record_batches(run, {number: report(written=1)}, worker=f"w{number}@host")
    with django_assert_max_num_queries(8):  # and one for how many batches are not listed
        told = progress_of(operator, run)
    assert told["parts"]["batches"].count("<tr>") == 51
    assert told["parts"]["work"].count("<li>") == 20


def test_progress__has_what_changes_on_the_page_as_the_page_has_it(operator: Client, run: WarmingRun) -> None:
    failures = (Failure(key="post:7", error="ValueError: <b>"),)
    runs.record_batches(
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
    operator: Client, run: WarmingRun
) -> None:
    assert runs.cancel(run, "ada")
    assert "data-warmer-progress" in page_of(operator, run)
    runs.record_batches(run, {2: report(written=7)}, worker="w2@host")
    told = progress_of(operator, run)
    assert (told["final"], told["settled"], told["batches_done"]) == (True, False, 2)
    assert 'data-warmer-count="written">97</td>' in told["parts"]["keys"]
    past = timezone.now() - timedelta(minutes=2)
    WarmingRun.objects.update(started_at=past, heartbeat_at=past, finished_at=past)
    assert progress_of(operator, run)["settled"]
    assert "data-warmer-progress" not in page_of(operator, run)


def test_progress__is_not_kept_by_anybody(operator: Client, run: WarmingRun) -> None:
    assert "no-store" in operator.get(f"{RUNS}{run.pk}/progress/")["Cache-Control"]


def test_progress__needs_the_permission_to_see_runs(log_in: Callable[..., Client], run: WarmingRun) -> None:
    client = log_in("view_job", "warm_job", "cancel_run")
    assert client.get(f"{RUNS}{run.pk}/progress/").status_code == 403


def test_progress__of_no_run_is_404(operator: Client) -> None:
    assert operator.get(f"{RUNS}99999/progress/").status_code == 404
    assert operator.get(f"{RUNS}99999/change/").status_code == 404
    assert operator.post(f"{RUNS}99999/cancel/").status_code == 404
