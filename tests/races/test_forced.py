"""Forced interleavings: a writer steps in at each named point of a fill, by every way of filling.

Whatever the order, what is cached at the end is what the database says, or nothing. Each test fails
when the write scripts stop comparing the fence.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from myapp.models import Post
from tests.races.conftest import Filled
from tests.support.others import in_thread
from tests.support.transactions import rolled_back
from warmer.keys import beside
from warmer.models import Trigger, WarmingRun
from warmer.tasks import request_run
from warmer.testing import at, hold

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("point", ["token_taken", "loaded", "written"])
def test_writer__steps_in_at(point: str, filled: Filled) -> None:
    with at(point, lambda: filled.change("new"), job=filled.name):
        filled.fill()
    assert filled.cached in (None, "new")


STEPS: dict[str, Callable[[Filled, RedisServer], object]] = {
    "lose fence": lambda filled, _server: filled.job.spec.store.forget(),
    "flush": lambda *_: cache.clear(),
    "restart": lambda _filled, server: server.restart(),
    "make fence": lambda filled, _server: filled.job.spec.store.token([filled.key]),
    "change": lambda filled, _server: filled.change("new"),
}


@pytest.mark.parametrize(
    "steps",
    [
        ("lose fence", "change", "lose fence"),
        ("change", "lose fence", "make fence"),
        ("flush", "change", "flush", "make fence"),
        ("change", "restart", "make fence"),
    ],
    ids=["evicted", "evicted and made again", "flushed", "restarted"],
)
def test_fence__lost_between_token_and_write(steps: tuple[str, ...], filled: Filled, redis_server: RedisServer) -> None:
    def change() -> None:
        for step in steps:
            STEPS[step](filled, redis_server)

    with at("loaded", change, job=filled.name):
        filled.fill()
    assert filled.cached in (None, "new")


def test_writer__at_every_load(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.filling.pipeline.ATTEMPTS", 3)
    titles = iter(f"new {number}" for number in range(100))
    last = []

    def change() -> None:
        last.append(next(titles))
        filled.change(last[-1])

    with at("loaded", change, job=filled.name, times=100):
        filled.fill()
    assert filled.cached in (None, last[-1])


def test_writer__committed_but_not_yet_invalidated_while_a_fill_goes_through(filled: Filled) -> None:
    """The fill reads the new row, or its old value is deleted by the late invalidation."""
    with at("committed", filled.fill, job=filled.name):
        filled.change("new")
    assert filled.cached in (None, "new")


def test_writer__load_before_the_commit_and_write_before_the_invalidation(filled: Filled) -> None:
    with hold("loaded", job=filled.name) as fill:
        filling = in_thread(filled.fill)
        fill.wait()
        with hold("committed", job=filled.name) as commit:
            changing = in_thread(lambda: filled.change("new"))
            commit.wait()
            fill.release()
            filling.join()
        changing.join()
    assert filled.cached in (None, "new")


def test_writer__rolled_back_in_between_leaves_the_value(filled: Filled) -> None:
    def roll_back() -> None:
        with rolled_back():
            Post.objects.get(pk=filled.post.pk).save()

    with at("loaded", roll_back, job=filled.name):
        filled.fill()
    assert filled.cached == "old"


def test_fill__inside_the_transaction_of_a_change_that_is_rolled_back(filled: Filled) -> None:
    with rolled_back():
        filled.change("never")
        filled.fill()
    assert filled.cached in (None, "old")


def test_fence__records_trimmed_past_the_token(filled: Filled, settings: Any) -> None:
    settings.WARMER_FENCE_RECORDS = 2

    def change_and_crowd_out() -> None:
        filled.change("new")
        for number in range(10):
            filled.job.spec.store.invalidate([f"title:{10**6 + number}"])

    with at("loaded", change_and_crowd_out, job=filled.name):
        filled.fill()
    assert filled.cached in (None, "new")


def test_two_fills__the_slower_one_does_not_bring_the_old_value_back(filled: Filled) -> None:
    with hold("loaded", job=filled.name) as slow:
        filling = in_thread(filled.fill)
        slow.wait()
        filled.change("new")
        filled.job.warm()
        assert filled.cached == "new"
    filling.join()
    assert filled.cached == "new"


each_job = pytest.mark.parametrize("filled", ["single read", "keyed read", "keyed read on a cluster"], indirect=True)


@each_job
def test_lock__reader_that_sleeps_past_its_claim_does_not_bring_the_old_value_back(
    filled: Filled, settings: Any
) -> None:
    settings.WARMER_READ_CLAIM = timedelta(milliseconds=1)
    claim = beside(str(cache.make_key(filled.key)), "claim")
    with hold("loaded", job=filled.name) as sleeper:
        reading = in_thread(filled.fill)
        sleeper.wait()
        wait_until(lambda: not cache.client.get_client().exists(claim), what="its claim has ended")
        filled.change("new")
        assert filled.fill() == "new"
        assert filled.cached == "new"
    reading.join()
    assert filled.cached == "new"


@each_job
def test_lock__run_that_was_given_up_does_not_bring_the_old_value_back(filled: Filled, settings: Any) -> None:
    """Its worker stands still for so long that the run is called lost, and another one is made."""
    run = partial(request_run, filled.name, Trigger.COMMAND)
    with hold("loaded", job=filled.name) as sleeper:
        running = in_thread(run)
        sleeper.wait()
        settings.WARMER_STALL_TIMEOUT = timedelta(0)
        filled.change("new")
        second = run()
        assert not second.joined
        assert filled.cached == "new"
    running.join()
    assert filled.cached == "new"
    lost = WarmingRun.objects.get(pk__lt=second.run.pk)
    assert (lost.state, lost.written, lost.batches_done) == ("lost", 0, 0)


def test_read_committed__transaction_may_fill(filled: Filled) -> None:
    with transaction.atomic():
        Post.objects.get(pk=filled.post.pk)
        filled.fill()
    assert filled.cached == "old"
