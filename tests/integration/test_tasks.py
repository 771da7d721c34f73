"""The door for every trigger, and the tasks behind it, run in place. Real workers: tests/system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone

from embedded.redis_server import RedisServer
from warmer import UnknownJob, execution, ledger, spool, tasks, warm, warm_many
from warmer.batching import Batches
from warmer.execution import execute
from warmer.models import State, Trigger, WarmingRun
from warmer.report import Report
from warmer.tasks import (
    find_workers,
    forget_runs,
    request_pending,
    request_refresh,
    request_run,
    scheduled_run,
    start_run,
    warm_batch,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def job() -> Any:
    return warm_many("t:{id}", ids=lambda: range(10), name="t", batch_size=4)(
        lambda ids: {id: id for id in ids}
    )


@pytest.fixture
def on_a_broker() -> Any:
    """Send messages to the broker, where no worker takes them."""
    current_app.conf.task_always_eager = False
    yield
    current_app.control.purge()
    current_app.conf.task_always_eager = True


def test_request_run__does_the_work_and_the_ledger_says_so(job: Any, django_user_model: Any) -> None:
    user = django_user_model.objects.create(username="ada")
    opened = request_run("t", Trigger.ADMIN, user=user)
    run = WarmingRun.objects.get()
    assert opened.run == run
    assert (run.state, run.written, run.batches_done, run.batches_total) == (State.COMPLETE, 10, 3, 3)
    assert (run.trigger, run.requested_by) == ("admin", user)
    assert cache.get_many([f"t:{id}" for id in range(10)]) == {f"t:{id}": id for id in range(10)}


def test_request_run__counts_queries_of_batches_and_ids(make_user: Any) -> None:
    for _ in range(3):
        make_user()
    run = request_run("user_profiles", Trigger.COMMAND).run
    assert (run.written, run.batches_done, run.queries) == (3, 1, 2)


def test_request_run__only_missing(job: Any) -> None:
    cache.set("t:1", "cached")
    run = request_run("t", Trigger.COMMAND, only_missing=True).run
    assert (run.written, run.fresh) == (9, 1)
    assert cache.get("t:1") == "cached"


def test_request_run__unknown_job() -> None:
    with pytest.raises(UnknownJob, match="Did you mean user_profiles"):
        request_run("user_profile", Trigger.COMMAND)
    assert not WarmingRun.objects.exists()


def test_request_run__is_sent_at_the_commit(job: Any) -> None:
    with transaction.atomic():
        run = request_run("t", Trigger.COMMAND).run
        assert run.state == State.QUEUED
        assert cache.get("t:1") is None
    run.refresh_from_db()
    assert run.state == State.COMPLETE


def test_request_run__rolled_back_is_no_run(job: Any) -> None:
    with transaction.atomic():
        request_run("t", Trigger.COMMAND)
        transaction.set_rollback(True)
    assert not WarmingRun.objects.exists()
    assert cache.get("t:1") is None


@pytest.mark.usefixtures("on_a_broker")
def test_request_run__second_joins_the_one_under_way(job: Any) -> None:
    first = request_run("t", Trigger.SCHEDULE)
    second = request_run("t", Trigger.ADMIN)
    assert (first.joined, second.joined) == (False, True)
    assert first.run == second.run
    with current_app.connection_for_read() as connection:
        queue = connection.SimpleQueue("warming")
        assert queue.qsize() == 1


@pytest.mark.usefixtures("on_a_broker")
def test_request_run__broker_down_fails_the_run_and_says_why(job: Any, redis_server: RedisServer) -> None:
    redis_server.stop()
    run = request_run("t", Trigger.ADMIN).run
    assert run.state == State.FAILED
    assert run.error.startswith("The broker does not answer")
    redis_server.start()
    assert not request_run("t", Trigger.ADMIN).joined


@pytest.mark.usefixtures("on_a_broker")
def test_find_workers__nobody_there() -> None:
    assert find_workers("warming", timeout=0.1).problem == "no worker answers"


def test_find_workers__tasks_in_process() -> None:
    assert "in process" in find_workers("warming").problem


def test_scheduled_run__expires_when_the_next_is_due(job: Any) -> None:
    scheduled_run("t")
    run = WarmingRun.objects.get()
    assert (run.trigger, run.state) == ("schedule", State.COMPLETE)
    assert run.expires_at - run.requested_at == timedelta(minutes=15)


def test_scheduled_run__expires_with_its_message__by_the_interval_of_an_operator(job: Any) -> None:
    scheduled_run.push_request(expires=(timezone.now() + timedelta(days=1)).isoformat())
    try:
        scheduled_run.run("t")
    finally:
        scheduled_run.pop_request()
    run = WarmingRun.objects.get()
    assert timedelta(hours=23) < run.expires_at - run.requested_at <= timedelta(days=1)


@pytest.mark.parametrize("zone", ["", "+00:00"])
def test_scheduled_run__expires_with_its_message__where_use_tz_is_off(
    job: Any, settings: Any, zone: str
) -> None:
    settings.USE_TZ = False
    at = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    task: Any = SimpleNamespace(request=SimpleNamespace(expires=f"{at.isoformat()}{zone}"))
    until = tasks.runs._until_due_again(task, job.spec)
    assert until is not None
    assert timedelta(minutes=59) < until <= timedelta(hours=1)


@pytest.mark.usefixtures("on_a_broker")
def test_messages__upkeep_comes_before_runs_and_these_before_batches(job: Any) -> None:
    start_run(ledger.open_run("t", Trigger.COMMAND).run.pk)  # sends for its three batches
    warm("u", name="u")(lambda: 1)
    request_run("u", Trigger.COMMAND)
    request_pending()
    with current_app.connection_for_read() as connection, connection.SimpleQueue("warming") as queue:
        names = [queue.get_nowait().headers["task"] for _ in range(5)]
    assert names == ["warmer.apply_pending", "warmer.start_run", *["warmer.warm_batch"] * 3]


def test_request_run__of_every_key_that_joins_one_of_what_is_missing_says_so(job: Any) -> None:
    missing = ledger.open_run("t", Trigger.CHANGE, only_missing=True)
    assert ledger.start(missing.run.pk)
    assert request_run("t", Trigger.ADMIN).leaves_cached
    assert not request_run("t", Trigger.CHANGE, only_missing=True).leaves_cached


def test_request_run__of_every_key_that_joins_one_that_has_not_begun_makes_it_one(job: Any) -> None:
    missing = ledger.open_run("t", Trigger.CHANGE, only_missing=True)
    opened = ledger.open_run("t", Trigger.ADMIN)
    assert (opened.run, opened.joined, opened.leaves_cached) == (missing.run, True, False)
    assert not opened.run.only_missing


def begun(job: Any, *, sent: int = 0) -> WarmingRun:
    """Return a run of a job whose batches are written down for workers."""
    run = ledger.start(ledger.open_run(job.name, Trigger.COMMAND).run.pk)
    assert run is not None
    batches = Batches(job.spec)
    (count,) = spool.write_down(run, batches)
    ledger.expect(run, batches=count, report=batches.report, sent=sent)
    run.refresh_from_db()
    return run


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The messages for batches, which nobody takes; each task does one."""
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", 0.0)
    sent: list[tuple[int, ...]] = []
    monkeypatch.setattr(warm_batch, "apply_async", lambda args, **_: sent.append(args))
    return sent


def test_warm_batch__delivered_twice_counts_once(job: Any) -> None:
    run = begun(job)
    warm_batch(run.pk, run.attempt, 1)
    warm_batch(run.pk, run.attempt, 1)
    run.refresh_from_db()
    assert (run.written, run.batches_done, run.state) == (4, 1, State.RUNNING)


def test_warm_batch__sends_for_the_next_one_until_all_are_sent(job: Any, messages: list[Any]) -> None:
    run = begun(job, sent=1)
    assert run.batches_total == 3
    for number in (1, 2, 3):
        warm_batch(run.pk, run.attempt, number)
    assert messages == [(run.pk, 1, 2, 1), (run.pk, 1, 3, 1)]
    run.refresh_from_db()
    assert (run.state, run.batches_done, run.written) == (State.COMPLETE, 3, 10)


def test_warm_batch__that_is_quick_does_the_next_ones_itself(
    job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", 60.0)
    run = begun(job, sent=1)
    warm_batch(run.pk, run.attempt, 1)
    run.refresh_from_db()
    assert (messages, run.state, run.batches_done, run.written) == ([], State.COMPLETE, 3, 10)


def test_warm_batch__cancelled_meanwhile_does_not_go_on(
    cancelled_job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.runs, "TASK_SECONDS", 60.0)
    run = begun(cancelled_job, sent=1)
    warm_batch(run.pk, run.attempt, 1)
    run.refresh_from_db()
    assert (messages, run.state, run.batches_done, run.written) == ([], State.CANCELLED, 2, 8)


def test_warm_batch__of_a_worker_killed_before_it_sent_for_the_next_sends_it_again(
    job: Any, messages: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(job, sent=1)
    with monkeypatch.context() as killed:
        killed.setattr(warm_batch, "apply_async", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            warm_batch(run.pk, run.attempt, 1)
    warm_batch(run.pk, run.attempt, 1)  # it was not acknowledged, so it is delivered again
    run.refresh_from_db()
    assert (run.batches_done, run.batches_sent, messages) == (1, 2, [(run.pk, 1, 2, 1)])


def test_warm_batch__some_counted_by_a_worker_killed_before_it_sent_does_the_others_and_sends_again(
    messages: list[Any],
) -> None:
    run = begun(warm_many("k:{id}", ids=lambda: range(40), name="k", batch_size=4)(dict.fromkeys), sent=3)
    # Two deliveries of one message for three batches; one counted the first of them, and was killed.
    noted = ledger.record_batches(run, {1: Report(job="k", written=4, batches=1)}, at_most=2).then
    assert noted == spool.Range(first=4, count=2)
    warm_batch(run.pk, run.attempt, 1, 3)
    assert messages[0] == (run.pk, 1, 4, 2)
    while messages:
        warm_batch(*messages.pop())  # type: ignore[misc]
    run.refresh_from_db()
    assert (run.state, run.batches_done) == (State.COMPLETE, 10)


def test_warm_batch__of_several_that_are_slower_than_expected_counts_some_and_goes_on_with_the_rest(
    messages: list[Any],
) -> None:
    run = begun(warm_many("s:{id}", ids=lambda: range(40), name="s", batch_size=4)(dict.fromkeys), sent=8)
    warm_batch(run.pk, run.attempt, 1, 8)  # there is no time at all, see `messages`
    run.refresh_from_db()
    assert (run.batches_done, run.batches_sent, messages) == (1, 8, [(run.pk, 1, 2, 7)])
    while messages:
        warm_batch(*messages.pop())  # type: ignore[misc]
    run.refresh_from_db()
    assert (run.state, run.batches_done, run.batches_sent) == (State.COMPLETE, 10, 10)


@pytest.mark.parametrize(
    ("batches", "seconds", "expected"),
    [
        (100, 0.001, [(1, 16), (17, 16), (33, 16)]),  # quick: as many as are done together
        (100, 0.04, [(1, 2), (3, 2), (5, 2)]),
        (100, 5.0, [(1, 1), (2, 1), (3, 1)]),
        (6, 0.001, [(1, 2), (3, 2), (5, 2)]),  # few: shared among the workers all the same
    ],
)
def test_start_run__of_a_job_whose_cost_is_known_sends_for_quick_batches_together(
    monkeypatch: pytest.MonkeyPatch, settings: Any, batches: int, seconds: float, expected: list[Any]
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(warm_batch, "apply_async", lambda args, **_: sent.append(args[2:]))
    settings.WARMER_BATCHES_OUT = 3
    settings.CELERY_TASK_ALWAYS_EAGER = False
    warm_many("q:{id}", ids=lambda: range(batches), name="q", batch_size=1)(dict)
    past = ledger.start(ledger.open_run("q", Trigger.COMMAND).run.pk)
    assert past is not None
    report = Report(job="q", written=10, batches=1, seconds=seconds)
    ledger.record_batches(past, {1: report})
    ledger.expect(past, batches=1, report=Report(job="q"))
    run = ledger.open_run("q", Trigger.COMMAND).run
    start_run(run.pk)
    run.refresh_from_db()
    assert (sent, run.batches_sent) == (expected, sum(expected[-1]) - 1)


def test_batches__that_follow_are_noted_with_the_first_and_given_out_once(job: Any) -> None:
    run = begun(warm_many("n:{id}", ids=lambda: range(40), name="n", batch_size=4)(dict), sent=1)
    report = Report(job="n", written=4, batches=1)
    first = ledger.record_batches(run, {1: report}, at_most=5)
    assert (first.counted, first.then) == (1, spool.Range(first=2, count=5))
    (row,) = spool.take(run.pk, run.attempt, spool.Range(first=1))
    assert spool.successors_of([row]) == [first.then]
    numbers = range(2, 7)
    second = ledger.record_batches(run, dict.fromkeys(numbers, report), at_most=16)
    assert (second.counted, second.then) == (5, spool.Range(first=7, count=4)), "there are no more than ten"
    assert ledger.record_batches(run, dict.fromkeys(numbers, report)).counted == 0
    # One of them was counted before: by a second delivery, while the first was under way.
    assert ledger.record_batches(run, dict.fromkeys((6, 7, 8), report)).counted == 2
    run.refresh_from_db()
    assert (run.batches_done, run.batches_sent, run.written) == (8, 10, 32)
    assert run.batches.filter(recorded_at=None).count() == 2


def test_start_run__has_no_more_messages_under_way_than_the_setting_says(
    messages: list[Any], settings: Any
) -> None:
    settings.WARMER_BATCHES_OUT = 3
    settings.CELERY_TASK_ALWAYS_EAGER = False
    warm_many("m:{id}", ids=lambda: range(1_000), name="m", batch_size=10)(lambda ids: {id: id for id in ids})
    run = ledger.open_run("m", Trigger.COMMAND).run
    start_run(run.pk)
    assert messages == [(run.pk, 1, number, 1) for number in (1, 2, 3)]
    run.refresh_from_db()
    assert (run.state, run.batches_total, run.batches_sent) == (State.RUNNING, 100, 3)
    assert run.batches.count() == 100
    most = 0
    while messages:
        most = max(most, len(messages))
        warm_batch(*messages.pop())  # type: ignore[misc]
    run.refresh_from_db()
    assert (most, run.state, run.written) == (3, State.COMPLETE, 1_000)


def test_spool__keeps_ids_with_their_types_and_lets_go_of_them(job: Any) -> None:
    ids = [1, "1a", UUID(int=7), 2**70]
    run = ledger.start(ledger.open_run("t", Trigger.COMMAND).run.pk)
    assert run is not None
    list(spool.write_down(run, [job.spec.key.batch(ids)]))
    (batch,) = spool.take(run.pk, run.attempt, spool.Range(first=1))
    found = spool.ids_of(batch)
    assert (found, [type(each) for each in found]) == (ids, [int, str, UUID, int])
    warm_batch(run.pk, run.attempt, 1)
    batch.refresh_from_db()
    assert batch.ids is None


def test_spool__of_an_ended_run_holds_only_the_first_of_what_was_done(job: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(spool, "KEPT", 2)
    run = begun(job)
    for number in (1, 2, 3):
        warm_batch(run.pk, run.attempt, number)
    assert list(run.batches.values_list("number", flat=True).order_by("number")) == [1, 2]


def test_spool__of_a_lost_run_is_emptied(job: Any, settings: Any) -> None:
    run = begun(job)
    warm_batch(run.pk, run.attempt, 2)
    settings.WARMER_STALL_TIMEOUT = timedelta(0)
    ledger.close_stalled()
    assert list(run.batches.values_list("number", flat=True)) == [2]


def test_warm_batch__of_an_ended_run_loads_nothing() -> None:
    loaded: list[Any] = []

    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        loaded.extend(ids)
        return {}

    run = begun(warm_many("e:{id}", ids=lambda: [1, 2], name="e")(loader))
    ledger.fail(run, "over")
    warm_batch(run.pk, run.attempt, 1)
    assert loaded == []


def test_start_run__delivered_again_after_its_end_does_nothing(job: Any) -> None:
    run = request_run("t", Trigger.COMMAND).run
    cache.clear()
    start_run(run.pk)
    assert cache.get("t:1") is None
    run.refresh_from_db()
    assert run.attempt == 1


def test_start_run__delivered_again_before_its_end_counts_anew(job: Any) -> None:
    run = ledger.open_run("t", Trigger.COMMAND).run
    first = ledger.start(run.pk)  # and its worker was killed
    assert first is not None
    ledger.record_batches(first, {1: run.report})
    start_run(run.pk)
    run.refresh_from_db()
    assert (run.state, run.attempt, run.written, run.batches_done) == (State.COMPLETE, 2, 10, 3)


def test_start_run__ids_that_fail_end_the_run() -> None:
    def ids() -> list[int]:
        raise ValueError("redis://user:secret@host/0 broke")

    warm_many("i:{id}", ids=ids, name="i")(dict)
    run = request_run("i", Trigger.COMMAND).run
    assert run.state == State.FAILED
    assert "The ids could not be found: ValueError" in run.error
    assert "secret" not in run.error


def test_start_run__ids_that_are_no_ids_are_counted_as_failed() -> None:
    warm_many("b:{id}", ids=lambda: [1, object(), 2], name="b")(lambda ids: {id: id for id in ids})
    run = request_run("b", Trigger.COMMAND).run
    assert (run.state, run.written, run.failed) == (State.INCOMPLETE, 2, 1)


def test_start_run__of_a_job_that_this_code_does_not_know() -> None:
    run = ledger.open_run("gone", Trigger.COMMAND).run
    start_run(run.pk)
    run.refresh_from_db()
    assert run.state == State.FAILED
    assert "There is no job 'gone'" in run.error


def test_warm_batch__time_limit_fails_what_is_left() -> None:
    def loader(ids: Sequence[int]) -> Mapping[int, int]:
        raise SoftTimeLimitExceeded

    warm_many("s:{id}", ids=lambda: range(6), name="s")(loader)
    run = request_run("s", Trigger.COMMAND).run
    assert (run.state, run.failed) == (State.FAILED, 6)
    assert "SoftTimeLimitExceeded" in run.error


@pytest.mark.usefixtures("on_a_broker")
def test_refresh__changes_share_one_queued_run(make_post: Any) -> None:
    warm("fresh", name="fresh", depends_on=["myapp.Post"], on_change="refresh")(lambda: 1)
    with transaction.atomic():
        make_post()
        make_post()
    make_post()
    run = WarmingRun.objects.get(job="fresh")
    assert (run.trigger, run.state, run.only_missing) == ("change", State.QUEUED, True)


def test_refresh__warms_what_the_change_made_cold(make_post: Any) -> None:
    warm("fresh", name="fresh", depends_on=["myapp.Post"], on_change="refresh")(lambda: "new")
    cache.set("fresh", "old")
    make_post()
    assert cache.get("fresh") == "new"


@pytest.mark.usefixtures("on_a_broker")
def test_refresh__change_during_a_run_is_followed_by_another(job: Any) -> None:
    started = ledger.start(request_run("t", Trigger.SCHEDULE).run.pk)
    assert started is not None
    request_refresh(job.spec)
    assert WarmingRun.objects.count() == 1
    ledger.expect(started, batches=0, report=started.report)
    first, second = WarmingRun.objects.order_by("id")
    assert (first.state, second.state, second.trigger) == (State.COMPLETE, State.QUEUED, "change")


def cancelling_loader(ids: Sequence[int]) -> Mapping[int, int]:
    """A loader in whose second batch the run is cancelled."""
    if 4 in ids:
        ledger.cancel(WarmingRun.objects.get(active_job="t"), "ada")
    return {id: id for id in ids}


@pytest.fixture
def cancelled_job(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(execution, "LOOK_SECONDS", 0.0)
    return warm_many("t:{id}", ids=lambda: range(12), name="t", batch_size=4)(cancelling_loader)


def test_cancel__takes_effect_at_the_next_batch_on_workers(cancelled_job: Any) -> None:
    run = request_run("t", Trigger.ADMIN).run
    assert (run.state, run.written, run.batches_done, run.batches_total) == (State.CANCELLED, 8, 2, None)
    assert cache.get_many([f"t:{id}" for id in range(12)]) == {f"t:{id}": id for id in range(8)}


def test_cancel__batch_that_waits_is_dropped(job: Any) -> None:
    run = begun(job)
    ledger.cancel(run, "ada")
    warm_batch(run.pk, run.attempt, 1)
    start_run(run.pk)
    assert cache.get("t:1") is None
    assert not run.batches.exists()


def test_cancel__takes_effect_at_the_next_batch_in_this_process(cancelled_job: Any) -> None:
    run = ledger.open_run("t", Trigger.COMMAND).run
    execute(cancelled_job.spec, run)
    run.refresh_from_db()
    assert (run.state, run.error, run.written) == (State.CANCELLED, "Cancelled by ada.", 8)
    assert cache.get("t:8") is None


def test_forget_runs__keeps_for_the_retention_and_the_newest_of_each_job(settings: Any) -> None:
    settings.WARMER_RUN_RETENTION = timedelta(days=2)
    for job, days in (("posts", 3), ("posts", 1), ("popular_posts", 4), ("gone", 4)):
        run = ledger.open_run(job, Trigger.COMMAND).run
        ledger.fail(run, "broken")
        then = timezone.now() - timedelta(days=days)
        WarmingRun.objects.filter(pk=run.pk).update(requested_at=then, finished_at=then)
    assert forget_runs() == 2
    assert set(WarmingRun.objects.values_list("job", flat=True)) == {"posts", "popular_posts"}
