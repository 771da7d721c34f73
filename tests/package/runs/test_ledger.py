"""The ledger: one run of a job at a time, counted once, with an end to every run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from embedded.waiting import SECONDS
from tests.support.others import apart, in_thread
from warmer import run_finished
from warmer import runs as ledger
from warmer.models import CacheAudit, State, Trigger, WarmingBatch, WarmingRun
from warmer.report import Failure, Report
from warmer.tasks import forget_runs

pytestmark = pytest.mark.django_db(transaction=True)


NOTHING = Report(job="things")
LONG_AGO = timedelta(minutes=11)
REFUSED = (Failure(key="thing:1", error="ValueError: no"),)


def report(**counts: Any) -> Report:
    return Report(job="things", batches=1, **counts)


def told(run: WarmingRun, *fields: str) -> tuple[Any, ...]:
    """Return fields of a run as they are in the database."""
    run.refresh_from_db()
    return tuple(getattr(run, field) for field in fields)


def age(run: WarmingRun, *fields: str) -> None:
    """Set times of a run to longer ago than a run may be without progress."""
    WarmingRun.objects.filter(pk=run.pk).update(**dict.fromkeys(fields, timezone.now() - LONG_AGO))


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
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(apart(each)) for each in calls]]


def test_open_run__second_request_joins_the_first() -> None:
    first = ledger.open_run("things", Trigger.SCHEDULE)
    second = ledger.open_run("things", Trigger.ADMIN)
    assert (first.joined, second.joined, second.run) == (False, True, first.run)
    assert second.run.trigger == "schedule"
    ledger.fail(first.run, "broken")
    assert not any(ledger.open_run(job, Trigger.COMMAND).joined for job in ("others", "things"))


@pytest.mark.parametrize("times", [1, 2])
def test_open_run__refused_without_an_active_run(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once: the active run may have ended between the two queries. Twice: it is something else."""
    query_set = type(WarmingRun.objects.all())
    create, errors = query_set.create, [IntegrityError("disk full")] * times

    def refuse(self: Any, **fields: Any) -> WarmingRun:
        if errors:
            raise errors.pop()
        return create(self, **fields)

    monkeypatch.setattr(query_set, "create", refuse)
    with nullcontext() if times == 1 else pytest.raises(IntegrityError):
        assert not ledger.open_run("posts", Trigger.DEPLOY).joined
    assert WarmingRun.objects.count() == 2 - times


def test_open_run__many_at_once_open_one() -> None:
    opened = concurrently(*[lambda: ledger.open_run("things", Trigger.COMMAND)] * 8)
    assert sorted(each.joined for each in opened) == [False] + [True] * 7
    assert WarmingRun.objects.count() == 1


def test_record_batch__last_one_ends_the_run(run: WarmingRun, finished: list[WarmingRun]) -> None:
    ledger.expect(run, batches=2, report=Report(job="things", queries=1))
    ledger.record_batches(run, {1: report(written=3, queries=1)})
    assert told(run, "state", "batches_done") == (State.RUNNING, 1)
    ledger.record_batches(run, {2: report(written=2, no_value=1, queries=1)})
    figures = told(run, "state", "written", "no_value", "queries", "active_job")
    assert figures == (State.COMPLETE, 5, 1, 3, None)
    assert (finished, run.finished_at is None) == ([run], False)


def test_expect__of_no_batches_ends_the_run(run: WarmingRun) -> None:
    ledger.expect(run, batches=0, report=Report(job="things", queries=1))
    assert told(run, "state", "written", "queries") == (State.COMPLETE, 0, 1)


def test_record_batch__delivered_twice_counts_once(run: WarmingRun) -> None:
    ledger.expect(run, batches=2, report=NOTHING)
    ledger.record_batches(run, {1: report(written=3)})
    ledger.record_batches(run, {1: report(written=3)})
    assert told(run, "written", "batches_done", "state") == (3, 1, State.RUNNING)


def test_record_batch__many_at_once_are_all_counted(run: WarmingRun, finished: list[WarmingRun]) -> None:
    ledger.expect(run, batches=12, report=NOTHING)
    numbers = [*range(1, 13), *range(1, 5)]  # four of them twice
    calls = [partial(ledger.record_batches, run, {number: report(written=1)}) for number in numbers]
    concurrently(*calls)
    assert told(run, "written", "batches_done", "state") == (12, 12, State.COMPLETE)
    assert len(finished) == 1


def test_ended_run__counts_nothing_and_does_not_start_again(run: WarmingRun) -> None:
    ledger.fail(run, "lost")
    ledger.record_batches(run, {1: report(written=3)})
    assert not ledger.cancel(run, "ada")
    assert not ledger.is_current(run)
    assert (ledger.start(run.pk), ledger.start(10**9)) == (None, None)
    assert told(run, "written", "state", "error") == (0, State.FAILED, "lost")


def test_start__again_voids_what_the_first_start_counted(run: WarmingRun) -> None:
    ledger.record_batches(run, {1: report(written=3, queries=2)})
    again = ledger.start(run.pk)
    assert again is not None
    assert (again.attempt, again.written, again.queries, again.batches_done) == (2, 0, 0, 0)
    ledger.record_batches(run, {2: report(written=9)})
    assert (ledger.is_current(again), ledger.is_current(run)) == (True, False)
    ledger.record_batches(again, {1: report(written=4)})
    ledger.expect(again, batches=1, report=NOTHING)
    assert told(again, "state", "written") == (State.COMPLETE, 4)


@pytest.mark.parametrize(
    ("counts", "failures", "state"),
    [
        ({"written": 3}, (), State.COMPLETE),
        ({"written": 3, "superseded": 1, "no_value": 1, "skipped": 1}, (), State.COMPLETE),
        ({"written": 3, "failed": 1}, REFUSED, State.INCOMPLETE),
        ({"failed": 2}, REFUSED, State.FAILED),
        ({"failed": 2}, (), State.FAILED),  # more failed than are named
    ],
)
def test_end__state_says_what_became_of_the_keys(
    run: WarmingRun, counts: dict[str, int], failures: tuple[Failure, ...], state: State
) -> None:
    ledger.record_batches(run, {1: report(failures=failures, **counts)})
    assert told(run, "state") == (State.RUNNING,)
    ledger.expect(run, batches=1, report=Report(job="things", queries=1))
    assert told(run, "state", "queries", "written") == (state, 1, counts.get("written", 0))
    assert (run.report.failures, bool(run.error)) == (failures, "failed" in counts)


def test_end__of_two_who_found_it_running_the_first_counts(run: WarmingRun, finished: list[WarmingRun]) -> None:
    first: list[bool] = []

    def cancel_just_before(execute: Any, sql: str, *arguments: Any) -> Any:
        if "state" in sql and sql.startswith("UPDATE") and not first:
            first.append(True)
            assert ledger.cancel(run, "olga")
        return execute(sql, *arguments)

    with connection.execute_wrapper(cancel_just_before):
        assert not ledger.fail(run, "broken")
    assert [each.state for each in finished] == [State.CANCELLED]


def test_end__survives_a_receiver_that_raises(run: WarmingRun, caplog: pytest.LogCaptureFixture) -> None:
    def broken(run: WarmingRun, **_: Any) -> None:
        raise ValueError("broken")

    run_finished.connect(broken)
    try:
        assert ledger.fail(run, "lost")
    finally:
        run_finished.disconnect(broken)
    assert told(run, "state") == (State.FAILED,)
    assert "ValueError: broken" in caplog.text


def test_close_stalled__running_without_progress_is_lost(run: WarmingRun) -> None:
    assert ledger.close_stalled() == 0
    age(run, "heartbeat_at")
    assert ledger.close_stalled("others") == 0
    assert not ledger.open_run("things", Trigger.DEPLOY).joined  # it closes its job's first
    assert told(run, "state") == (State.LOST,)
    assert "No progress for 600 s" in run.error


def test_close_stalled__progress_keeps_a_run_alive(run: WarmingRun) -> None:
    for progress in (lambda: ledger.record_batches(run, {1: report(written=1)}), lambda: ledger.beat(run)):
        age(run, "heartbeat_at", "started_at")
        progress()
        assert ledger.close_stalled() == 0


def test_close_stalled__queued_past_its_use_is_expired() -> None:
    run = ledger.open_run("things", Trigger.SCHEDULE, expires_in=timedelta(seconds=-1)).run
    assert (ledger.close_stalled(), *told(run, "state")) == (1, State.EXPIRED)


def test_close_stalled__waits_for_no_worker_that_is_frozen_while_it_records(run: WarmingRun) -> None:
    other = ledger.start(ledger.open_run("others", Trigger.DEPLOY).run.pk)
    assert other is not None
    for stalled in (run, other):
        age(stalled, "heartbeat_at")
    is_locked, thaws = Event(), Event()

    def freeze() -> None:
        with transaction.atomic():
            WarmingRun.objects.select_for_update().get(pk=run.pk)
            is_locked.set()
            thaws.wait(SECONDS)

    locks_rows = connection.features.has_select_for_update  # SQLite locks the database
    frozen = in_thread(freeze if locks_rows else is_locked.set)
    try:
        assert is_locked.wait(SECONDS)
        assert ledger.close_stalled() == (1 if locks_rows else 2)
        assert ledger.open_run("things", Trigger.DEPLOY).joined == locks_rows
    finally:
        thaws.set()
        frozen.join()
    assert ledger.close_stalled() == (1 if locks_rows else 0)


def test_cancel__keeps_what_was_counted_and_counts_what_is_in_hand(run: WarmingRun, finished: list[WarmingRun]) -> None:
    ledger.expect(run, batches=2, report=NOTHING)
    ledger.record_batches(run, {1: report(written=3)})
    ledger.request_follow_up(run)
    assert ledger.cancel(run, "ada")
    ended = told(run, "state", "error", "written", "active_job", "follow_up", "is_final")
    assert ended == (State.CANCELLED, "Cancelled by ada.", 3, None, False, True)
    ledger.record_batches(run, {2: report(written=4)})
    assert told(run, "state", "written", "batches_done") == (State.CANCELLED, 7, 2)
    queued = ledger.open_run("things", Trigger.COMMAND)
    assert not queued.joined
    assert ledger.cancel(queued.run, "ada")
    assert ledger.start(queued.run.pk) is None
    assert finished == [run, queued.run]


# -- what is kept --------------------------------------------------------------------------------------
@pytest.mark.usefixtures("own_jobs")
def test_forget_runs__keeps_what_runs_the_newest_of_each_job_and_all_for_the_retention(settings: Any) -> None:
    settings.WARMER_RUN_RETENTION = timedelta(days=2)
    for job, days in (("posts", 3), ("posts", 1), ("popular_posts", 4), ("gone", 4)):
        ended = ledger.open_run(job, Trigger.COMMAND).run
        ledger.fail(ended, "broken")
        WarmingBatch.objects.create(run=ended, number=1)
        then = timezone.now() - timedelta(days=days)
        WarmingRun.objects.filter(pk=ended.pk).update(requested_at=then, finished_at=then)
    WarmingRun.objects.filter(pk=ledger.open_run("things", Trigger.COMMAND).run.pk).update(requested_at=then)
    audits = [CacheAudit.objects.create(job="posts", trigger="admin", started_at=then, finished_at=then) for _ in "ab"]
    assert forget_runs() == 2
    assert CacheAudit.objects.get() == audits[-1]
    jobs = WarmingRun.objects.order_by("pk").values_list("job", flat=True)
    assert (list(jobs), WarmingBatch.objects.count()) == (["posts", "popular_posts", "things"], 2)


def test_latest_per_job__in_one_query(django_assert_num_queries: Any) -> None:
    for job in ("a", "b", "a"):
        ledger.fail(ledger.open_run(job, Trigger.COMMAND).run, "x")
    newest = ledger.open_run("a", Trigger.COMMAND).run
    with django_assert_num_queries(1):
        latest = WarmingRun.objects.latest_per_job(["a", "b", "never"])
    assert {job: run.pk for job, run in latest.items()} == {"a": newest.pk, "b": newest.pk - 2}
