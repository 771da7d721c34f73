"""A process that is killed on its way from a commit to the end of the invalidation: a relay does the rest."""

import signal
from typing import Any

import pytest
from django.core.cache import cache

from myapp.models import Post
from tests.support.processes import run_code
from warmer.invalidation import Relay, backlog

pytestmark = pytest.mark.django_db(transaction=True)

WRITES = {
    "save in a transaction": "with transaction.atomic(): post.title = 'New'; post.save()",
    "save in autocommit": "post.title = 'New'; post.save()",
    "update in autocommit": "Post.objects.filter(pk={pk}).update(title='New')",
    "raw SQL in autocommit": "connection.cursor().execute('UPDATE myapp_post SET title = %s', ['New'])",
    "a relay": (
        "post.title = 'New'; transaction.set_autocommit(False); post.save(); transaction.commit(); "
        "transaction.set_autocommit(True); Relay().poll()"
    ),
}
KILLED = """
import django, os, signal
django.setup()
from django.db import connection, transaction
from myapp.models import Post
from warmer import failpoints
from warmer.invalidation import Relay
failpoints.hooks[{point!r}] = lambda job: os.kill(os.getpid(), signal.SIGKILL)
post = Post.objects.get(pk={pk})
"""
OPEN = """
with transaction.atomic():
    Post.objects.filter(pk={pk}).update(title="New")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def stale(make_post: Any) -> Any:
    """A post of which an old value is cached, also in the list of popular posts."""
    post = make_post(title="Old")
    Relay().poll()  # the tests before may have left something
    cache.set_many({"popular_posts": "old", f"post:{post.pk}": "old"})
    return post


@pytest.mark.parametrize("point", ["committed", "invalidated"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_killed__after_the_commit_loses_nothing(stale: Post, write: str, point: str) -> None:
    assert run_code((KILLED + write).format(point=point, pk=stale.pk)).returncode == -signal.SIGKILL
    stale.refresh_from_db()
    assert stale.title == "New"
    keys = ["popular_posts", f"post:{stale.pk}"]
    assert len(cache.get_many(keys)) == (2 if point == "committed" else 0)
    assert backlog().count == 1

    assert Relay().poll() == 1

    assert cache.get_many(keys) == {}
    assert backlog().count == 0


def test_killed__before_the_commit_leaves_everything_as_it_was(stale: Post) -> None:
    assert run_code((KILLED + OPEN).format(point="", pk=stale.pk)).returncode == -signal.SIGKILL
    assert Relay().poll() == 0
    stale.refresh_from_db()
    assert (stale.title, cache.get(f"post:{stale.pk}")) == ("Old", "old")
