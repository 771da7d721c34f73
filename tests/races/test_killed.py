"""A process that is killed on its way from a commit to the end of the invalidation: a relay does the rest."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction

from myapp.models import Post
from tests.support.others import in_a_fork
from warmer import failpoints
from warmer.invalidation import Relay, backlog

pytestmark = pytest.mark.django_db(transaction=True)


def die(_job: str = "") -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def save(post: Post) -> None:
    post.title = "New"
    post.save()


def save_in_a_transaction(post: Post) -> None:
    with transaction.atomic():
        save(post)


def update(post: Post) -> None:
    Post.objects.filter(pk=post.pk).update(title="New")


def raw_sql(post: Post) -> None:
    connection.cursor().execute("UPDATE myapp_post SET title = %s", ["New"])


def relay(post: Post) -> None:
    """Apply, as a worker does, a change whose end Django is not told of."""
    transaction.set_autocommit(False)
    save(post)
    transaction.commit()
    transaction.set_autocommit(True)
    Relay().poll()


@pytest.fixture
def stale(make_post: Any) -> Any:
    """A post of which an old value is cached, also in the list of popular posts."""
    post = make_post(title="Old")
    Relay().poll()  # the tests before may have left something
    cache.set_many({"popular_posts": "old", f"post:{post.pk}": "old"})
    return post


@pytest.mark.parametrize("point", ["committed", "invalidated"])
@pytest.mark.parametrize("write", [save, save_in_a_transaction, update, raw_sql, relay])
def test_killed__after_the_commit_loses_nothing(
    stale: Post, write: Callable[[Post], None], point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(failpoints.hooks, point, die)
    connection.close()  # the child opens its own
    assert in_a_fork(lambda: write(stale)) == -signal.SIGKILL
    monkeypatch.delitem(failpoints.hooks, point)
    stale.refresh_from_db()
    assert stale.title == "New"
    keys = ["popular_posts", f"post:{stale.pk}"]
    assert len(cache.get_many(keys)) == (2 if point == "committed" else 0)
    assert backlog().count == 1

    assert Relay().poll() == 1

    assert cache.get_many(keys) == {}
    assert backlog().count == 0


def test_killed__before_the_commit_leaves_everything_as_it_was(stale: Post) -> None:
    def change() -> None:
        with transaction.atomic():
            update(stale)
            die()

    connection.close()
    assert in_a_fork(change) == -signal.SIGKILL
    assert Relay().poll() == 0
    stale.refresh_from_db()
    assert (stale.title, cache.get(f"post:{stale.pk}")) == ("Old", "old")
