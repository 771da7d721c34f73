"""A save whose invalidation fails succeeds, and the log says what is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.integration.keyed import cached, gone
from warmer import StoreUnavailable, keys_invalidated, warm, warm_many
from warmer.stores.redis import RedisStore

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_save__with_the_cache_down_succeeds_and_says_so(
    make_post: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    post = make_post()
    redis_server.stop()
    post.title = "Saved"
    post.save()
    assert Post.objects.get(pk=post.pk).title == "Saved"
    assert "Could not invalidate" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


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


def test_save__with_a_sweep_that_fails_says_what_is_lost(
    outcome: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_DURABLE_INVALIDATION = False

    def away(_: object) -> None:
        raise StoreUnavailable("away")

    warm_many("w:{id}", ids=list, name="w", depends_on=[Post])(dict)
    warm_many("v:{id}", ids=list, name="v", depends_on=[Post])(dict)
    cached("w:1", "v:1")
    sweep = RedisStore.sweep
    monkeypatch.setattr(
        RedisStore, "sweep", lambda self: away(self) if self.template.prefix == "w:" else sweep(self)
    )
    said = outcome()
    assert "Could not invalidate w, v, and nothing keeps it: old values stay until their timeout" in said
    assert "call invalidate()" in said
    assert gone("w:1", "v:1") == {"v:1"}


def test_save__with_a_refresh_that_cannot_be_asked_for_says_so(outcome: Any, monkeypatch: Any) -> None:
    warm("r", name="r", depends_on=[Post], on_change="refresh")(lambda: 1)

    def locked(*_: Any, **__: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr("warmer.ledger.open_run", locked)
    said = outcome()
    assert "Could not ask for a refresh of r" in said
    assert "manage.py warm_cache r --only-missing" in said
    assert "database is locked" in said


def test_save__with_a_receiver_that_fails_says_so_and_calls_the_others(outcome: Any) -> None:
    heard = []

    def fail(sender: Any, **_: Any) -> None:
        raise LookupError(f"no {sender.name}")

    def hear(sender: Any, **_: Any) -> None:
        heard.append(sender.name)

    keys_invalidated.connect(fail)
    keys_invalidated.connect(hear)
    try:
        said = outcome()
    finally:
        keys_invalidated.disconnect(fail)
        keys_invalidated.disconnect(hear)
    assert "A receiver of keys_invalidated failed for posts" in said
    assert "LookupError: no posts" in said
    assert "posts" in heard


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_save__with_a_database_that_keeps_nothing_says_so(
    make_post: Any, redis_server: RedisServer, caplog: Any, monkeypatch: Any, error: type[Exception]
) -> None:
    post = make_post()
    redis_server.stop()

    def fail(_: object) -> None:
        raise error("gone")

    monkeypatch.setattr("warmer.outbox._has_table", fail)
    post.save()
    assert "could not be kept" in caplog.text
    assert "and nothing keeps it" in caplog.text
