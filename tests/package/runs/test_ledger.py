"""The ledger: one run of a job at a time, counted once, with an end to every run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from warmer import run_finished
from warmer import runs as ledger
from warmer.models import State, Trigger, WarmingBatch, WarmingRun
from warmer.report import Failure, Report
from warmer.runs import lifecycle
from warmer.tasks import forget_runs

pytestmark = pytest.mark.django_db(transaction=True)


def report(**counts: Any) -> Report:
    return Report(job="things", batches=1, **counts)


@pytest.fixture
def run() -> WarmingRun:
    """A running run of the job 'things'."""
    started = ledger.start(ledger.open_run("things", Trigger.COMMAND).run.pk)
    assert started is not None
    return started


@pytest.fixture
def finished() -> Any:
    """The runs whose end was signalled."""
    heard: list[WarmingRun] = []

    def hear(run: WarmingRun, **_: Any) -> None:
        heard.append(run)

    run_finished.connect(hear)
    yield heard
    run_finished.disconnect(hear)


def concurrently(*calls: Callable[[], Any]) -> list[Any]:
    def call(each: Callable[[], Any]) -> Any:
        try:
            return each()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call, each) for each in calls]]


def test_open_run__second_request_joins_the_first() -> None:
    first = ledger.open_run("things", Trigger.SCHEDULE)
    second = ledger.open_run("things", Trigger.ADMIN)
    assert (first.joined, second.joined) == (False, True)
    assert second.run == first.run
    assert second.run.trigger == "schedule"


def test_open_run__refused_for_another_reason_raises(monkeypatch: Any) -> None:
    def refuse(**fields: Any) -> WarmingRun:
        raise IntegrityError("disk full")

    monkeypatch.setattr(WarmingRun.objects, "create", refuse)
    with pytest.raises(IntegrityError):
        ledger.open_run("posts", Trigger.ADMIN)
    assert not WarmingRun.objects.exists()


def test_open_run__other_run_that_ended_between_the_queries_is_no_error(monkeypatch: Any) -> None:
    create = WarmingRun.objects.create
    refused: list[object] = []

    def refuse_once(**fields: Any) -> WarmingRun:
        if not refused:
            refused.append(fields)
            raise IntegrityError("active_job")
        return create(**fields)

    monkeypatch.setattr(WarmingRun.objects, "create", refuse_once)
    assert not ledger.open_run("posts", Trigger.DEPLOY).joined
    assert refused


def test_open_run__full_request_makes_a_queued_run_full() -> None:
    ledger.open_run("things", Trigger.CHANGE, only_missing=True)
    assert ledger.open_run("things", Trigger.CHANGE, only_missing=True).run.only_missing
    assert not ledger.open_run("things", Trigger.DEPLOY).run.only_missing


def test_open_run__other_jobs_have_their_own() -> None:
    assert not ledger.open_run("things", Trigger.COMMAND).joined
    assert not ledger.open_run("others", Trigger.COMMAND).joined


def test_open_run__many_at_once_open_one() -> None:
    opened = concurrently(*[lambda: ledger.open_run("things", Trigger.COMMAND)] * 8)
    assert sorted(each.joined for each in opened) == [False] + [True] * 7
    assert WarmingRun.objects.count() == 1


def test_open_run__after_the_end_opens_another(run: WarmingRun) -> None:
    ledger.fail(run, "broken")
    assert not ledger.open_run("things", Trigger.COMMAND).joined


def test_record_batch__last_one_ends_the_run(run: WarmingRun, finished: list[WarmingRun]) -> None:
    ledger.expect(run, batches=2, report=Report(job="things", queries=1))
    assert ledger.record_batches(run, {1: report(written=3, queries=1)}) == 1
    run.refresh_from_db()
    assert (run.state, run.batches_done) == (State.RUNNING, 1)
    assert ledger.record_batches(run, {2: report(written=2, no_value=1, queries=1)})
    run.refresh_from_db()
    assert (run.state, run.written, run.no_value, run.queries) == (State.COMPLETE, 5, 1, 3)
    assert run.finished_at is not None
    assert run.active_job is None
    assert finished == [run]


def test_expect__after_every_batch_ends_the_run(run: WarmingRun) -> None:
    ledger.record_batches(run, {1: report(written=3)})
    run.refresh_from_db()
    assert run.state == State.RUNNING
    ledger.expect(run, batches=1, report=Report(job="things"))
    run.refresh_from_db()
    assert run.state == State.COMPLETE


def test_expect__without_any_key_is_complete(run: WarmingRun) -> None:
    ledger.expect(run, batches=0, report=Report(job="things", queries=1))
    run.refresh_from_db()
    assert (run.state, run.queries) == (State.COMPLETE, 1)


def test_record_batch__delivered_twice_counts_once(run: WarmingRun) -> None:
    ledger.expect(run, batches=2, report=Report(job="things"))
    assert ledger.record_batches(run, {1: report(written=3)})
    assert not ledger.record_batches(run, {1: report(written=3)})
    run.refresh_from_db()
    assert (run.written, run.batches_done, run.state) == (3, 1, State.RUNNING)


def test_record_batch__many_at_once_are_all_counted(run: WarmingRun, finished: list[WarmingRun]) -> None:
    ledger.expect(run, batches=12, report=Report(job="things"))
    calls = [
        lambda number=number: ledger.record_batches(run, {number: report(written=1)})
        for number in [*range(1, 13), *range(1, 5)]
    ]
    counted = concurrently(*calls)
    assert sum(counted) == 12
    run.refresh_from_db()
    assert (run.written, run.batches_done, run.state) == (12, 12, State.COMPLETE)
    assert len(finished) == 1


def test_record_batch__of_an_ended_run_counts_nothing(run: WarmingRun) -> None:
    ledger.fail(run, "lost")
    assert not ledger.record_batches(run, {1: report(written=3)})
    run.refresh_from_db()
    assert (run.written, run.state, run.error) == (0, State.FAILED, "lost")


def test_start__again_voids_what_the_first_start_counted(run: WarmingRun) -> None:
    ledger.record_batches(run, {1: report(written=3, queries=2)})
    again = ledger.start(run.pk)
    assert again is not None
    assert (again.attempt, again.written, again.queries, again.batches_done) == (2, 0, 0, 0)
    assert not ledger.record_batches(run, {2: report(written=9)})
    assert ledger.is_current(again)
    assert not ledger.is_current(run)
    assert ledger.record_batches(again, {1: report(written=4)})
    ledger.expect(again, batches=1, report=Report(job="things"))
    again.refresh_from_db()
    assert (again.state, again.written) == (State.COMPLETE, 4)


def test_start__of_an_ended_run_does_nothing(run: WarmingRun) -> None:
    ledger.fail(run, "broken")
    assert ledger.start(run.pk) is None
    assert ledger.start(10**9) is None


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({"written": 3}, State.COMPLETE),
        ({"written": 3, "superseded": 1, "no_value": 1, "skipped": 1}, State.COMPLETE),
        ({"written": 3, "failed": 1}, State.INCOMPLETE),
        ({"failed": 2}, State.FAILED),
    ],
)
def test_end__state_says_what_became_of_the_keys(
    run: WarmingRun, counts: dict[str, int], state: State
) -> None:
    failures = (Failure(key="thing:1", error="ValueError: no"),) if "failed" in counts else ()
    ledger.record_batches(run, {1: report(failures=failures, **counts)})
    ledger.expect(run, batches=1, report=Report(job="things"))
    run.refresh_from_db()
    assert run.state == state
    assert run.report.failures == failures
    assert bool(run.error) == ("failed" in counts)


def test_end__of_a_run_whose_failures_are_not_named(run: WarmingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.report.MAX_FAILURES", 0)
    ledger.record_batches(run, {1: report(failed=2)})
    ledger.expect(run, batches=1, report=Report(job="things"))
    run.refresh_from_db()
    assert (run.state, run.error) == (State.FAILED, "Every key failed.")


def test_end__happens_once(run: WarmingRun, finished: list[WarmingRun]) -> None:
    assert sum(concurrently(*[lambda: ledger.fail(run, "broken")] * 6)) == 1
    assert len(finished) == 1


def test_end__of_two_who_found_it_running_the_first_counts(
    run: WarmingRun, finished: list[WarmingRun]
) -> None:
    first: list[bool] = []

    def cancel_just_before(execute: Any, sql: str, *arguments: Any) -> Any:
        if "state" in sql and sql.startswith("UPDATE") and not first:
            first.append(True)
            assert ledger.cancel(run, "olga")
        return execute(sql, *arguments)

    with connection.execute_wrapper(cancel_just_before):
        assert not ledger.fail(run, "broken")
    assert [each.state for each in finished] == [State.CANCELLED]


def test_close_stalled__running_without_progress_is_lost(run: WarmingRun, settings: Any) -> None:
    assert ledger.close_stalled() == 0
    past = timezone.now() - timedelta(minutes=11)
    WarmingRun.objects.filter(pk=run.pk).update(heartbeat_at=past)
    assert ledger.close_stalled("others") == 0
    assert ledger.close_stalled() == 1
    run.refresh_from_db()
    assert run.state == State.LOST
    assert "No progress for 600 s" in run.error


def test_close_stalled__progress_keeps_a_run_alive(run: WarmingRun) -> None:
    past = timezone.now() - timedelta(minutes=11)
    WarmingRun.objects.filter(pk=run.pk).update(heartbeat_at=past, started_at=past)
    ledger.beat(run)
    assert ledger.close_stalled() == 0
    WarmingRun.objects.filter(pk=run.pk).update(heartbeat_at=past)
    ledger.record_batches(run, {1: report(written=1)})
    assert ledger.close_stalled() == 0


def test_close_stalled__queued_past_its_use_is_expired() -> None:
    run = ledger.open_run("things", Trigger.SCHEDULE, expires_in=timedelta(seconds=-1)).run
    assert ledger.close_stalled() == 1
    run.refresh_from_db()
    assert run.state == State.EXPIRED
    assert "Is a worker running" in run.error


def test_open_run__ends_a_stalled_one_first(run: WarmingRun) -> None:
    past = timezone.now() - timedelta(minutes=11)
    WarmingRun.objects.filter(pk=run.pk).update(heartbeat_at=past)
    opened = ledger.open_run("things", Trigger.DEPLOY)
    assert not opened.joined
    run.refresh_from_db()
    assert run.state == State.LOST


def test_cancel__ends_it_and_keeps_what_was_counted(run: WarmingRun, finished: list[WarmingRun]) -> None:
    ledger.expect(run, batches=3, report=Report(job="things", queries=1))
    ledger.record_batches(run, {1: report(written=3)})
    assert ledger.cancel(run, "ada")
    run.refresh_from_db()
    assert (run.state, run.error, run.written, run.batches_done) == (
        State.CANCELLED,
        "Cancelled by ada.",
        3,
        1,
    )
    assert run.active_job is None
    assert run.is_final
    assert finished == [run]
    assert not ledger.open_run("things", Trigger.COMMAND).joined


def test_cancel__batch_in_hand_is_counted_and_ends_nothing(run: WarmingRun) -> None:
    ledger.expect(run, batches=2, report=Report(job="things"))
    ledger.record_batches(run, {1: report(written=3)})
    ledger.cancel(run, "ada")
    assert ledger.record_batches(run, {2: report(written=4)})
    run.refresh_from_db()
    assert (run.state, run.written, run.batches_done) == (State.CANCELLED, 7, 2)


def test_cancel__queued_run_is_not_started(finished: list[WarmingRun]) -> None:
    run = ledger.open_run("things", Trigger.COMMAND).run
    assert ledger.cancel(run, "ada")
    assert ledger.start(run.pk) is None
    assert finished == [run]


def test_cancel__of_an_ended_run_changes_nothing(run: WarmingRun) -> None:
    ledger.fail(run, "broken")
    assert not ledger.cancel(run, "ada")
    run.refresh_from_db()
    assert (run.state, run.error) == (State.FAILED, "broken")


def test_cancel__no_run_follows(run: WarmingRun, finished: list[WarmingRun]) -> None:
    ledger.request_follow_up(run)
    ledger.cancel(run, "ada")
    assert [each.follow_up for each in finished] == [False]


def test_beat__says_whether_the_run_is_still_wanted(run: WarmingRun) -> None:
    assert ledger.beat(run)
    ledger.cancel(run, "ada")
    assert not ledger.beat(run)


@pytest.fixture
def old_runs() -> list[int]:
    """Seven runs of 'things' that ended 40 days ago, with a batch each; return their numbers."""
    then = timezone.now() - timedelta(days=40)
    fields = {"job": "things", "trigger": Trigger.SCHEDULE, "state": State.COMPLETE}
    runs = [
        WarmingRun.objects.create(**fields, requested_at=then, finished_at=then, expires_at=then)
        for _ in range(7)
    ]
    WarmingBatch.objects.bulk_create(WarmingBatch(run=run, number=1) for run in runs)
    return [run.pk for run in runs]


def month_ago() -> Any:
    return timezone.now() - timedelta(days=30)


def test_forget__deletes_old_runs_with_their_batches(old_runs: list[int]) -> None:
    young = ledger.open_run("others", Trigger.COMMAND).run
    ledger.fail(young, "broken")
    assert ledger.forget(before=month_ago()) == 7
    assert list(WarmingRun.objects.all()) == [young]
    assert not WarmingBatch.objects.exists()


def test_forget_runs__keeps_for_the_retention_and_the_newest_of_each_job(
    own_jobs: None, settings: Any
) -> None:
    settings.WARMER_RUN_RETENTION = timedelta(days=2)
    for job, days in (("posts", 3), ("posts", 1), ("popular_posts", 4), ("gone", 4)):
        run = ledger.open_run(job, Trigger.COMMAND).run
        ledger.fail(run, "broken")
        then = timezone.now() - timedelta(days=days)
        WarmingRun.objects.filter(pk=run.pk).update(requested_at=then, finished_at=then)
    assert forget_runs() == 2
    assert set(WarmingRun.objects.values_list("job", flat=True)) == {"posts", "popular_posts"}


def test_forget__keeps_what_has_not_ended_and_what_ended_lately(old_runs: list[int]) -> None:
    WarmingRun.objects.filter(pk=old_runs[0]).update(state=State.RUNNING, finished_at=None)
    WarmingRun.objects.filter(pk=old_runs[1]).update(finished_at=timezone.now())
    ledger.forget(before=month_ago())
    assert set(WarmingRun.objects.values_list("pk", flat=True)) == set(old_runs[:2])


def test_forget__works_in_bounded_chunks(old_runs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "FORGET_CHUNK", 3)
    with CaptureQueriesContext(connection) as queries:
        assert ledger.forget(before=month_ago()) == 7
    deletes = [each["sql"] for each in queries if 'DELETE FROM "warmer_warmingrun"' in each["sql"]]
    assert len(deletes) == 3  # of 3, 3 and 1
    assert not WarmingRun.objects.exists()


# -- what past runs tell -------------------------------------------------------------------------------
def test_latest_per_job__in_one_query(django_assert_num_queries: Any) -> None:
    for job in ("a", "b", "a"):
        ledger.fail(ledger.open_run(job, Trigger.COMMAND).run, "x")
    newest = ledger.open_run("a", Trigger.COMMAND).run
    with django_assert_num_queries(1):
        latest = WarmingRun.objects.latest_per_job(["a", "b", "never"])
    assert {job: run.pk for job, run in latest.items()} == {"a": newest.pk, "b": newest.pk - 2}
