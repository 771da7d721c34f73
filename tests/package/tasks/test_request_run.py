"""`request_run`, which every trigger calls: what it does and joins; refreshes and scheduled runs."""

from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.utils import timezone

from tests.package.tasks.conftest import received
from warmer import runs, tasks, warm, warm_many
from warmer.models import BeatProcess, State, Trigger, WarmingRun
from warmer.tasks import close_stalled_runs, request_refresh, request_run, scheduled_run, start_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_request_run__does_the_work_and_the_ledger_says_so(job: Any, django_user_model: Any) -> None:
    user = django_user_model.objects.create(username="ada")
    opened = request_run("t", Trigger.ADMIN, user=user)
    run = WarmingRun.objects.get()
    assert opened.run == run
    assert (run.state, run.written, run.batches_done, run.batches_total) == (State.COMPLETE, 10, 3, 3)
    assert (run.trigger, run.requested_by) == ("admin", "ada")
    assert cache.get_many([f"t:{id}" for id in range(10)]) == {f"t:{id}": id for id in range(10)}


@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_request_run__is_sent_at_the_commit(job: Any, is_rolled_back: bool) -> None:
    with transaction.atomic():
        assert request_run("t", Trigger.COMMAND).run.state == State.QUEUED
        assert cache.get("t:1") is None
        transaction.set_rollback(is_rolled_back)
    states = [] if is_rolled_back else [State.COMPLETE]
    assert list(WarmingRun.objects.values_list("state", flat=True)) == states
    assert (cache.get("t:1") is None) is is_rolled_back


@pytest.mark.usefixtures("on_a_broker")
def test_messages__upkeep_comes_before_runs_and_these_before_batches(job: Any) -> None:
    start_run(runs.open_run("t", Trigger.COMMAND).run.pk)  # sends for its three batches
    warm("u", name="u")(lambda: 1)
    first, second = request_run("u", Trigger.SCHEDULE), request_run("u", Trigger.ADMIN)
    assert (first.joined, second.joined, second.run) == (False, True, first.run)
    close_stalled_runs.apply_async(queue="warming")  # as the schedule does
    with current_app.connection_for_read() as connection, connection.SimpleQueue("warming") as queue:
        names = [queue.get_nowait().headers["task"] for _ in range(queue.qsize())]
    assert names == ["warmer.close_stalled_runs", "warmer.start_run", *["warmer.warm_batch"] * 3]


@pytest.mark.parametrize("has_begun", [True, False])
def test_request_run__of_every_key_that_joins_one_of_what_is_missing_says_so_or_makes_it_one(
    job: Any, has_begun: bool
) -> None:
    missing = runs.open_run("t", Trigger.CHANGE, only_missing=True).run
    if has_begun:
        assert runs.start(missing.pk)
    opened = request_run("t", Trigger.ADMIN)
    assert (opened.run, opened.joined) == (missing, True)
    assert opened.run.only_missing is has_begun


def test_request_run__of_some_keys_loads_only_these_with_ids_of_the_declared_types() -> None:
    loaded: list[Any] = []

    @warm_many("u:{id}", ids=lambda: [1, 2, 3, "a b"], name="u", batch_size=1)
    def job(ids: Any) -> Any:
        loaded.extend(ids)
        return {id: id for id in ids}

    run = request_run("u", Trigger.ADMIN, only_keys=["u:3", "u:1", "u:gone"]).run
    assert (run.state, run.written, loaded) == (State.COMPLETE, 2, [1, 3])
    assert set(cache.get_many(["u:1", "u:2", "u:3"])) == {"u:1", "u:3"}
    assert not WarmingRun.objects.complete_and_full("u").exists()


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("only_missing", [False, True])
def test_request_run__takes_the_place_of_a_run_of_some_keys(job: Any, has_begun: bool, only_missing: bool) -> None:
    some = runs.open_run(job.name, Trigger.ADMIN, only_keys=["t:1"]).run
    if has_begun:
        runs.start(some.pk)
    opened = request_run(job.name, Trigger.DEPLOY, only_missing=only_missing)
    some.refresh_from_db()
    assert (some.state, opened.joined) == (State.CANCELLED, False)
    assert (opened.run.state, opened.run.written) == (State.COMPLETE, 10)


def test_request_run__loses_a_race_after_each_run_of_some_keys(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others open runs of some keys as fast as they are cancelled, and end one before it can be joined."""
    real, calls = WarmingRun.objects.get_or_create, count()

    def get_or_create(_self: Any, *, active_job: str, defaults: Any) -> Any:
        number = next(calls)
        if number in (0, 2):
            raise IntegrityError
        only_keys = ["t:1"] if number == 1 else None
        return real(active_job=active_job, defaults=defaults | {"only_keys": only_keys})[0], number != 1

    monkeypatch.setattr(type(WarmingRun.objects), "get_or_create", get_or_create)
    assert request_run(job.name, Trigger.DEPLOY).run.written == 10


def test_request_run__of_some_keys_joins_one_of_every_key(job: Any) -> None:
    every = runs.open_run(job.name, Trigger.SCHEDULE).run
    assert request_run(job.name, Trigger.ADMIN, only_keys=["t:1"]).run == every


# -- after a change ------------------------------------------------------------------------------------
@pytest.mark.usefixtures("on_a_broker")
def test_refresh__changes_share_one_queued_run(make_post: Any) -> None:
    warm("fresh", name="fresh", depends_on=["myapp.Post"], on_change="refresh")(lambda: 1)
    with transaction.atomic():
        make_post()
        make_post()
    make_post()
    run = WarmingRun.objects.get(job="fresh")
    assert (run.trigger, run.state, run.only_missing) == ("change", State.QUEUED, True)
    # Scheduled runs do not join it for longer.
    assert run.expires_at - run.requested_at == timedelta(minutes=15, seconds=2)


def test_refresh__warms_what_the_change_made_cold(make_post: Any) -> None:
    warm("fresh", name="fresh", depends_on=["myapp.Post"], on_change="refresh")(lambda: "new")
    cache.set("fresh", "old")
    make_post()
    assert cache.get("fresh") == "new"


@pytest.mark.usefixtures("on_a_broker")
def test_refresh__change_during_a_run_is_followed_by_another(job: Any) -> None:
    started = runs.start(request_run("t", Trigger.SCHEDULE).run.pk)
    assert started is not None
    request_refresh(job.spec)
    assert WarmingRun.objects.count() == 1
    runs.expect(started, batches=0, report=started.report)
    first, second = WarmingRun.objects.order_by("id")
    assert (first.state, second.state, second.trigger) == (State.COMPLETE, State.QUEUED, "change")


# -- from beat -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("message_lives", "at_least", "at_most"),
    [
        (None, timedelta(minutes=15), timedelta(minutes=15)),
        (timedelta(days=1), timedelta(hours=23), timedelta(days=1)),  # by the interval of an operator
    ],
)
def test_scheduled_run__expires_when_the_next_is_due(
    job: Any, message_lives: timedelta | None, at_least: timedelta, at_most: timedelta
) -> None:
    expires = message_lives and (timezone.now() + message_lives).isoformat()
    with received(scheduled_run, expires=expires):
        scheduled_run.run("t")
    run = WarmingRun.objects.get()
    assert (run.trigger, run.state) == ("schedule", State.COMPLETE)
    assert at_least <= run.expires_at - run.requested_at <= at_most


@pytest.mark.parametrize("zone", ["", "+00:00"])
def test_scheduled_run__expires_with_its_message__where_use_tz_is_off(job: Any, settings: Any, zone: str) -> None:
    settings.USE_TZ = False
    at = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    task: Any = SimpleNamespace(request=SimpleNamespace(expires=f"{at.isoformat()}{zone}"))
    until = tasks.upkeep._until_due_again(task, job.spec)
    assert until is not None
    assert timedelta(minutes=59) < until <= timedelta(hours=1)


def test_scheduled_run__of_a_job_that_this_release_does_not_declare_is_skipped() -> None:
    scheduled_run("of_a_later_release")
    assert not WarmingRun.objects.exists()


@pytest.mark.parametrize("names", [("gen1@a", "gen2@b"), ("gen2@b", "gen1@a")])
def test_scheduled_run__of_a_second_beat_is_skipped(job: Any, names: tuple[str, str]) -> None:
    now = timezone.now()
    for name in names:
        BeatProcess.objects.create(name=name, first_at=now - timedelta(hours=1), last_at=now)
    for origin, count_of_runs in zip((*names, "gen3@shell"), (1, 1, 2), strict=True):
        with received(scheduled_run, origin=origin):
            scheduled_run.run("t")
        assert WarmingRun.objects.count() == count_of_runs


def test_scheduled_run__of_a_second_beat_counts_if_the_first_was_stopped_before_the_job_was_due(job: Any) -> None:
    now = timezone.now()
    for name, ago in (("gen1@a", timedelta(minutes=2)), ("gen2@b", timedelta())):
        BeatProcess.objects.create(name=name, first_at=now - timedelta(hours=1), last_at=now - ago)
    WarmingRun.objects.create(
        job="t", trigger="schedule", state=State.COMPLETE, requested_at=now - timedelta(minutes=15), expires_at=now
    )
    with received(scheduled_run, origin="gen2@b"):
        scheduled_run.run("t")
    assert WarmingRun.objects.count() == 2
