"""What each value of `WARMER_BYPASS` does with a bypass."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction

from myapp.models import Post
from tests.integration.keyed import cached, gone
from tests.integration.querysets.bulk import POSTS
from tests.integration.transactions import Rollback
from warmer import BypassWarning, bypass, invalidate_for
from warmer.bypass import events
from warmer.bypass.watches import watch_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_warn__warns_at_the_place_and_logs(
    make_post: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_BYPASS = "warn"
    make_post()
    keys = cached("popular_posts")
    with pytest.warns(BypassWarning, match="The table 'myapp_post'") as warned, transaction.atomic():
        Post.objects.update(title="New")
    assert gone(*keys) == set()
    assert warned[0].filename == __file__
    assert "Post.objects.update" in Path(__file__).read_text().splitlines()[warned[0].lineno - 1]
    assert Post.objects.get().title == "New"
    (record,) = [each for each in caplog.records if each.name == "warmer.bypass"]
    assert record.levelno == logging.WARNING
    assert "The table 'myapp_post'" in record.message


def test_warn__that_python_makes_an_error_is_raised_before_the_commit(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "warn"
    post = make_post()
    with warnings.catch_warnings():
        warnings.simplefilter("error", BypassWarning)
        with pytest.raises(BypassWarning), transaction.atomic():
            Post.objects.update(title="New")
    assert Post.objects.get().title == post.title


def test_invalidate__whole_jobs_after_the_commit(
    make_post: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}", "post:999", f"user:{post.author_id}:profile")
    with transaction.atomic():
        Post.objects.update(title="New")
        assert gone(*keys) == set()
        assert not caplog.records
    assert gone(*keys) == set(keys[:3])
    assert "All of their keys are invalidated." in caplog.text
    cached(*keys)
    with pytest.raises(Rollback), transaction.atomic():
        Post.objects.update(title="New")
        raise Rollback
    assert gone(*keys) == set()


def test_invalidate__before_a_callback_of_the_project_that_fails(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}")

    def fail() -> None:
        raise Rollback

    with pytest.raises(Rollback), transaction.atomic():
        transaction.on_commit(fail)
        Post.objects.update(title="New")
    assert gone(*keys) == set(keys)


def test_invalidate__in_autocommit_does_not_wait_long(
    make_post: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}")
    Post.objects.update(title="New")
    Group.objects.create(name="a")
    assert gone(*keys) == set()
    # The module's own name for it: whatever is imported meanwhile would keep a changed `time.monotonic`.
    monkeypatch.setattr(events, "time", SimpleNamespace(monotonic=lambda: 1e12))
    with pytest.raises(Rollback), transaction.atomic():
        Group.objects.create(name="b")
        assert gone(*keys) == set(keys)  # also when what is written next is rolled back
        raise Rollback
    assert gone(*keys) == set(keys)


def test_invalidate__what_is_matched_is_left_alone(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached(f"post:{post.pk}", "post:999")
    with transaction.atomic():
        Post.objects.update(title="New")
        invalidate_for(post)
    POSTS.update(title="Newer")
    bypass.check()
    assert gone(*keys) == {keys[0]}


def test_off__watches_nothing(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "raise"
    assert watch_of(connections["default"]) is not None
    settings.WARMER_BYPASS = "off"
    assert watch_of(connections["default"]) is None
    assert connection.execute_wrappers == []
    assert "commit" not in vars(connections["default"])
    make_post()
    with transaction.atomic():
        Post.objects.update(title="New")
    bypass.check()


@pytest.mark.parametrize(
    ("debug", "said", "mode"),
    [(True, "", "warn"), (False, "", "off"), (True, "off", "off"), (False, "raise", "raise")],
)
def test_setting__default_is_of_debug(settings: Any, debug: bool, said: str, mode: str) -> None:
    settings.DEBUG = debug
    settings.WARMER_BYPASS = said
    assert bypass.mode() == mode
    assert (watch_of(connections["default"]) is None) == (mode == "off")


def test_setting__that_is_none_of_the_four(settings: Any) -> None:
    settings.WARMER_BYPASS = "shout"
    with pytest.raises(ImproperlyConfigured, match="'shout': expected one of 'off', 'warn', 'raise'"):
        bypass.follow_settings()
