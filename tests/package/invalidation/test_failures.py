"""A save whose invalidation fails succeeds, and the log says what is left."""

import logging
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.support.keyed import cached, gone, job, waiting
from warmer import StoreUnavailable, warm
from warmer.exceptions import CircuitOpen
from warmer.invalidation import Relay, captures_by_triggers, records, relay
from warmer.stores import breaker
from warmer.stores.redis.store import RedisStore

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize("is_probe", [False, True])
def test_save__with_the_cache_down_succeeds_and_is_logged_once(
    make_post: Any,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_probe: bool,
) -> None:
    monkeypatch.setattr(breaker, "FIRST_WAIT_SECONDS", 0.0 if is_probe else 60.0)
    post = make_post()
    redis_server.stop()
    for title in ("Saved", "Saved again"):
        post.title = title
        post.save()
        assert Post.objects.get(pk=post.pk).title == title
    assert [each.name for each in caplog.records if each.levelno >= logging.INFO] == ["warmer.stores.breaker"]
    assert all(each.exc_info is None for each in caplog.records)
    assert waiting()


@pytest.fixture
def outcome(make_post: Any, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return a function that saves a post, sees that it is saved and invalidated, and returns the log."""
    post = make_post()
    cached(f"post:{post.pk}")

    def save() -> str:
        caplog.clear()
        post.title = "Saved"
        post.save()
        assert Post.objects.get(pk=post.pk).title == "Saved"
        assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}
        return "\n".join(each.message for each in caplog.records if each.name.startswith("warmer"))

    return save


def test_save__with_a_sweep_that_fails_leaves_it_to_a_worker(outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "wv":
        job(f"{name}:{{id}}", [Post])
    cached("w:1", "v:1")
    away, sweep = Mock(side_effect=StoreUnavailable("away")), RedisStore.sweep
    monkeypatch.setattr(RedisStore, "sweep", lambda self: away(self) if self.template.prefix == "w:" else sweep(self))
    assert "wait for the cache" in outcome()
    assert gone("w:1", "v:1") == {"v:1"}
    assert waiting()


def test_save__with_a_refresh_that_cannot_be_queued_succeeds(outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    warm("r", name="r", depends_on=[Post], on_change="refresh")(lambda: 1)
    monkeypatch.setattr("warmer.runs.open_run", Mock(side_effect=OperationalError("database is locked")))
    outcome()


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_save__with_records_that_cannot_be_read_or_written_says_so(
    make_post: Any, redis_server: RedisServer, caplog: Any, monkeypatch: Any, error: type[Exception]
) -> None:
    post = make_post()
    redis_server.stop()
    post.title = "Saved"
    with monkeypatch.context() as failing:
        for name in ("read_newest", "write"):
            failing.setattr(records, name, Mock(side_effect=error("gone")))
        post.save()
    assert Post.objects.get().title == "Saved"
    if captures_by_triggers():  # the database has recorded it
        assert "a worker tries again" in caplog.text
        assert waiting()
    else:
        assert "and nothing records it" in caplog.text


def test_relay__logs_an_outage_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    errors = cycle([StoreUnavailable("away"), CircuitOpen("left alone")])
    has_ended = iter([False] * 4 + [True])
    monkeypatch.setattr(relay, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(Relay, "notice", lambda _: None)
    monkeypatch.setattr(Relay, "poll", Mock(side_effect=errors))
    Relay().run(lambda _: next(has_ended))
    assert len([each for each in caplog.records if each.levelno >= logging.INFO]) == 1


def test_relay__applies_what_waits_soon_after_a_long_outage(make_post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now, back_at = 1000.0, 1040.0

    def away_until_then(call: Any) -> Any:
        def ask(*args: Any) -> Any:
            if now < back_at:
                raise StoreUnavailable("away")
            return call(*args)

        return ask

    def wait(seconds: float) -> bool:
        nonlocal now
        now += seconds
        return now >= back_at and not waiting()

    post = make_post()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(relay, "incarnation_of", away_until_then(relay.incarnation_of))
    together = RedisStore.invalidate_together
    monkeypatch.setattr(RedisStore, "invalidate_together", away_until_then(together))
    post.title = "Saved"
    post.save()
    assert waiting()
    Relay().run(wait)
    assert now <= back_at + 2
