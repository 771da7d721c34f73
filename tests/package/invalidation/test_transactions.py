"""Invalidations come at the commit, once and first; what is rolled back has none."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from redis import Redis

import warmer
from myapp.models import Comment, Post
from tests.support.keyed import cached, gone, waiting
from tests.support.keyed import job as declare
from tests.support.processes import run
from tests.support.transactions import Rollback, managed_by_hand, rolled_back
from warmer import warm_many
from warmer.invalidation import Relay

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_round_trips__one_for_a_commit_none_for_a_rollback(
    make_post: Any, make_comment: Any, redis_client: Redis
) -> None:
    posts = [make_post() for _ in range(5)]
    redis_client.config_resetstat()
    with rolled_back():
        posts[0].save()
    assert "cmdstat_evalsha" not in redis_client.info("commandstats")
    with transaction.atomic():
        for post in posts:
            with transaction.atomic():
                post.save()
            make_comment(post=post)
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1


def test_transaction__invalidates_before_later_callbacks_of_the_project(make_post: Any) -> None:
    post = make_post()
    cached(f"post:{post.pk}")
    seen = []
    with transaction.atomic():
        with transaction.atomic():
            post.save()
        transaction.on_commit(lambda: seen.append(gone(f"post:{post.pk}")))
        with transaction.atomic():
            post.save()
    assert seen == [{f"post:{post.pk}"}]


def test_transaction__earlier_callback_of_the_project_that_raises_leaves_it_to_a_worker(make_post: Any) -> None:
    """Django calls no callback after it."""
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}")
    with pytest.raises(Rollback), transaction.atomic():
        transaction.on_commit(Mock(side_effect=Rollback))
        post.save()
    assert gone(*keys) == set()
    assert waiting()
    Relay().poll()
    assert gone(*keys) == set(keys)


def test_transaction__after_a_rolled_back_one_still_invalidates(make_post: Any) -> None:
    """Also when something keeps the callbacks of the first one alive."""
    post = make_post()
    cached(f"post:{post.pk}")
    held = []
    with rolled_back():
        post.save()
        held.extend(connection.run_on_commit)
    with transaction.atomic():
        post.save()
    assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}
    assert held


WAYS: dict[str, Callable[[Any], Any]] = {
    "get": lambda job: job.get(7),
    "get_many": lambda job: job.get_many([7]),
    "warm": lambda job: job.warm([7]),
    "warm several": lambda job: job.warm([6, 7]),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("is_raising", [False, True], ids=["whole", "narrowed"])
def test_loader__that_writes_stores_nothing_that_may_be_rolled_back(way: Any, is_raising: bool, make_user: Any) -> None:
    author = make_user()

    def get_or_create(ids: Any) -> dict[int, str]:
        if is_raising and len(ids) > 1:
            raise ValueError("one by one")
        for id in ids:
            Post.objects.get_or_create(pk=id, defaults={"title": "New", "slug": f"new-{id}", "author": author})
        return dict.fromkeys(ids, "New")

    job = warm_many("made:{id}", ids=list, name="made", depends_on={Post: "id"})(get_or_create)
    with rolled_back():
        assert way(job)
    assert gone("made:7") == {"made:7"}
    assert not Post.objects.exists()
    with transaction.atomic():
        assert way(job)
    assert gone("made:7") == {"made:7"}
    assert job.get(7) == "New"
    assert gone("made:7") == set()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_transaction__managed_by_hand_bypasses_the_cache_and_stores_nothing(way: Any, make_post: Any) -> None:
    """Nothing tells of its end."""
    make_post(title="old")
    job = warm_many("titled:{id}", ids=list, name="titled", depends_on={Post: "id"})(
        lambda ids: dict.fromkeys(ids, Post.objects.get().title)
    )
    assert job.get(7) == "old"
    with managed_by_hand():
        Post.objects.update(title="never")
        assert job.get(7) == "never"
        cache.clear()
        assert way(job)
    assert gone("titled:6", "titled:7") == {"titled:6", "titled:7"}
    assert (job.get(7), gone("titled:7")) == ("old", set())


# -- what a transaction costs grows with its changes, and not with their square -------------------------
PACKAGE = warmer.__path__[0]


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the lines of the package that run in a block, and its queries."""
    count = Counter[str]()

    def on_line(frame: FrameType, event: str, _argument: Any) -> Any:
        count["lines"] += event == "line"
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    with CaptureQueriesContext(connection) as queries:
        sys.settrace(on_call)
        try:
            yield count
        finally:
            sys.settrace(before)
    count["queries"] = len(queries)


def saved(post: Post, times: int) -> None:
    """Save in savepoints, of which every other one is rolled back."""
    with transaction.atomic():
        for _ in range(times // 2):
            with transaction.atomic():
                post.save()
            with rolled_back():
                post.save()


def deleted(post: Post, times: int) -> None:
    Comment.objects.bulk_create(Comment(post=post, author=post.author, body="x") for _ in range(times))
    post.delete()


@pytest.mark.parametrize("change", [saved, deleted])
def test_cost__of_twice_as_many_changes_is_about_twice_as_much(
    change: Callable[[Post, int], None], make_post: Any
) -> None:
    declare("linear:{id}", {Post: "id", Comment: "post_id"})
    costs = []
    for times in (50, 50, 100):  # the first has what is done once in a process
        post = make_post()
        with counted() as count:
            change(post, times)
        costs.append(count)
    _, once, twice = costs
    assert once["lines"] > 50
    assert twice["lines"] < 2.2 * once["lines"]
    assert twice["queries"] < 2.2 * once["queries"]


# -- several databases ----------------------------------------------------------------------------------
TWO = "tests.package.invalidation.two_databases"


def test_databases__have_transactions_and_records_of_their_own(tmp_path: Path) -> None:
    variables = {"DJANGO_SETTINGS_MODULE": f"{TWO}.settings", "TWO_DATABASES": str(tmp_path)}
    done = run(sys.executable, "-m", TWO, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
