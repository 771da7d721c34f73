"""The states of jobs on the overview: the most urgent that holds."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from embedded.redis_server import RedisServer
from tests.package.admin.pages import (
    OVERVIEW,
    POSTS,
    act,
    listed,
    observation,
    report,
    row,
    run_of,
    state_of,
    wrong_audit,
)
from warmer import jobs, runs
from warmer.admin import health, questions
from warmer.models import JobObservation, State, Trigger, WarmingRun
from warmer.monitoring.observation import observe

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (State.FAILED, "failed"),
        (State.LOST, "failed"),
        (State.EXPIRED, "failed"),
        (State.INCOMPLETE, "part"),
        (State.COMPLETE, "warm"),
        (State.CANCELLED, "warm"),
    ],
)
def test_state__is_that_of_the_last_run_then_of_the_cache(operator: Client, state: State, shown: str) -> None:
    observation("posts")
    run_of("posts", State.FAILED)
    run_of("posts", state)
    assert state_of(operator, "posts").startswith(shown)


def test_state__is_the_most_urgent_that_holds(operator: Client) -> None:
    queued = runs.open_run("posts", Trigger.COMMAND).run
    assert state_of(operator, "posts") == "queued"
    assert "queued for" not in row(operator, "posts")
    WarmingRun.objects.update(requested_at=timezone.now() - timedelta(minutes=5))
    assert "queued for 5 min" in row(operator, "posts")
    seen = observation("posts")
    assert state_of(operator, "posts") == "queued"
    JobObservation.objects.update(cached=0)
    assert state_of(operator, "posts") == "cold"
    act(operator, "pause posts")
    assert state_of(operator, "posts") == "paused"
    runs.fail(queued, "broken")
    assert state_of(operator, "posts") == "failed"
    assert "paused:" in row(operator, "posts")
    audit = wrong_audit("posts")
    assert state_of(operator, "posts") == "wrong"
    audit.delete()
    seen.delete()
    assert state_of(operator, "posts") == "failed"


def test_state__wrong_is_until_the_keys_are_corrected(operator: Client) -> None:
    observation("posts")

    def state(correct: Callable[[], Any], **fields: Any) -> str:
        WarmingRun.objects.all().delete()
        wrong_audit("posts", **fields)
        assert state_of(operator, "posts") == "wrong"
        correct()
        return state_of(operator, "posts")

    assert state(lambda: run_of("posts", started_at=timezone.now())) == "warm"
    assert state(lambda: run_of("posts", started_at=timezone.now()), undeclared=3) == "wrong"
    assert state(lambda: run_of("posts", started_at=timezone.now() - timedelta(minutes=1))) == "wrong"
    for partly in ({"only_missing": True}, {"skipped": 1}, {"state": State.INCOMPLETE}):
        assert state(lambda partly=partly: run_of("posts", started_at=timezone.now(), **partly)) == "wrong"
    assert state(lambda: wrong_audit("posts", repaired=1)) == "warm"
    assert state(lambda: wrong_audit("posts", wrong=0)) == "warm"
    assert state(lambda: act(operator, "invalidate posts", confirmed="yes")) == "unknown"


@pytest.mark.parametrize(
    ("keys", "cached", "state"),
    [(28, 26, "warm"), (28, 25, "partial"), (1_000, 990, "warm"), (1_000, 989, "partial"), (1, 0, "cold")],
)
def test_state__is_warm_though_few_keys_were_just_invalidated(
    operator: Client, keys: int, cached: int, state: str
) -> None:
    observation("posts", sampled=keys, cached=cached)
    assert state_of(operator, "posts") == state


def test_state__is_unknown_once_no_job_is_checked_any_more(operator: Client) -> None:
    long_ago, recently = (timezone.now() - timedelta(minutes=minutes) for minutes in (6, 4))
    observation("posts", observed_at=long_ago, attempted_at=long_ago)
    # A round of slow jobs takes long.
    other = observation("popular_posts", attempted_at=recently, error="StoreUnavailable: away")
    assert state_of(operator, "posts") == "warm"
    assert 'warmer-warning warmer-small">checked ' in operator.get(OVERVIEW).content.decode()
    assert "checked 6 min ago" in row(operator, "posts")
    assert "warmer-state-warm" in operator.get(POSTS).content.decode()
    assert state_of(operator, "popular_posts") == "unknown"
    JobObservation.objects.filter(pk=other.pk).update(attempted_at=long_ago, error="")
    assert [state_of(operator, name) for name in ("posts", "popular_posts")] == ["unknown", "unknown"]
    assert "warmer-state-warm" not in operator.get(POSTS).content.decode()
    runs.open_run("posts", Trigger.COMMAND)
    assert state_of(operator, "posts") == "queued"


def test_table__begins_with_what_needs_attention(operator: Client) -> None:
    names = ["popular_posts", "posts", "user_profiles"]
    for name in names:
        observation(name)
    for urgent in names:
        audit = wrong_audit(urgent)
        page = operator.get(OVERVIEW).content.decode()
        assert re.findall('data-warmer-job="([^"]*)"', page)[0] == urgent
        audit.delete()


def test_state__running_has_its_progress(operator: Client) -> None:
    run = runs.start(runs.open_run("posts", Trigger.COMMAND).run.pk)
    assert run is not None
    runs.expect(run, batches=4, report=report(batches=0))
    runs.record_batches(run, {1: report(written=3)})
    assert state_of(operator, "posts") == "running"
    assert "1 of 4 batches" in row(operator, "posts")


@pytest.mark.usefixtures("impatient_cache")
@pytest.mark.parametrize("how", ["pause", "stop"])
def test_state__is_unknown_while_the_cache_does_not_answer(
    olga: Client, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """At once where the page itself finds out, and later where a worker did."""
    observation("posts", observed_at=timezone.now() - timedelta(minutes=3))
    observation("popular_posts", cached=0)
    assert [state_of(olga, name) for name in ("posts", "popular_posts")] == ["warm", "cold"]
    questions.forget()
    getattr(redis_server, how)()
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 0.01 if how == "pause" else 20.0)
    assert [state_of(olga, name) for name in ("posts", "popular_posts")] == ["unknown", "unknown"]
    assert "warmer-state-unknown" in olga.get(POSTS).content.decode()
    runs.open_run("popular_posts", Trigger.COMMAND)
    assert state_of(olga, "popular_posts") == "queued"
    observe(jobs["posts"].spec)
    monkeypatch.setattr(health, "unanswered", lambda caches: frozenset())
    assert state_of(olga, "posts") == "unknown"
    assert listed(olga, state="unknown") >= {"posts"}
    assert listed(olga, state="warm") == set()
    # The last successful check is still shown, with its age.
    shown = row(olga, "posts")
    assert "100 % checked 3 min ago" in shown
    assert "does not answer" in shown
