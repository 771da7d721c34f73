"""Others that write between the look of a bulk method and its change."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from django.db import connection, connections, transaction

from myapp.models import Comment, Post
from tests.integration.keyed import cached, gone
from tests.integration.others import await_end_or_lock
from tests.integration.querysets.bulk import COMMENTS, POSTS
from warmer import querysets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def after_the_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[Thread]]:
    """Return a function that has another thread do something between a look and its change."""

    def let(action: Callable[[], object]) -> list[Thread]:
        threads: list[Thread] = []

        def run() -> None:
            try:
                action()
            finally:
                connection.close()

        def look_then_let(*args: Any, **options: Any) -> Any:
            seen = look(*args, **options)
            if not threads:
                threads.append(Thread(target=run))
                threads[0].start()
                await_end_or_lock(threads[0])
            return seen

        look = querysets.look
        monkeypatch.setattr(querysets, "look", look_then_let)
        return threads

    return let


@pytest.mark.parametrize("condition", ["plain", "narrowed"])
def test_race__row_that_comes_to_match_is_not_changed_unnoticed(
    make_post: Any, make_user: Any, after_the_look: Any, condition: str
) -> None:
    author = make_user()
    make_post(author=author, title="old")
    late = make_post(author=author, title="later")
    keys = cached(f"post:{late.pk}")
    threads = after_the_look(lambda: (Post.objects.filter(pk=late.pk).update(title="old"), cached(*keys)))
    rows = POSTS.filter(title="old")
    if condition == "narrowed":
        rows = rows.filter(author__is_active=True)
    rows.update(views=7)
    threads[0].join()
    late.refresh_from_db()
    assert late.title == "old"
    assert late.views == 0 or gone(*keys) == set(keys)


def test_race__row_that_is_moved_while_we_wait_for_it(make_post: Any, make_comment: Any) -> None:
    """It is at A when our update begins, and at B when it gets hold of it."""
    a, b = make_post(), make_post()
    comment = make_comment(post=a)
    keys = cached(f"post:{b.pk}")
    updated: list[int] = []

    def update() -> None:
        try:
            updated.append(COMMENTS.filter(pk=comment.pk).update(body="New"))
        finally:
            connection.close()

    thread = Thread(target=update)
    with transaction.atomic():
        Comment.objects.filter(pk=comment.pk).update(post=b)
        thread.start()
        await_end_or_lock(thread)
        assert not updated
    thread.join()
    assert updated == [1]
    assert gone(*keys) == set(keys)


def test_race__row_that_we_have_looked_at_waits(
    make_post: Any, make_comment: Any, after_the_look: Any
) -> None:
    a, b = make_post(), make_post()
    comment = make_comment(post=a)
    keys = cached(f"post:{a.pk}")
    moved: list[Any] = []

    def move() -> None:
        Comment.objects.filter(pk=comment.pk).update(post=b)
        moved.append(gone(*keys))

    threads = after_the_look(move)
    with transaction.atomic():
        COMMENTS.filter(post__isnull=False, pk=comment.pk).update(body="New")
        assert not moved
    threads[0].join()
    assert moved
    assert gone(*keys) == set(keys)


def test_race__others_write_between_look_and_change_does_not_fail_us(
    make_post: Any, after_the_look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would say that the database is locked, had the transaction begun with a read."""
    post, other = make_post(), make_post()
    if connection.vendor == "sqlite":
        monkeypatch.setattr(connections["default"], "transaction_mode", None)
    threads = after_the_look(lambda: Post.objects.filter(pk=other.pk).update(title="Theirs"))
    assert POSTS.filter(pk=post.pk).update(title="Ours") == 1
    threads[0].join()
    assert set(Post.objects.values_list("title", flat=True)) == {"Ours", "Theirs"}
