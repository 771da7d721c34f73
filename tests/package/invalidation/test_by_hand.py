"""Invalidations that the project asks for."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

from embedded.redis_server import RedisServer
from myapp.models import Comment, Post
from tests.support import keyed
from tests.support.keyed import cached, gone, gone_by, job, waiting
from tests.support.others import apart
from tests.support.transactions import rolled_back
from warmer import StoreUnavailable, invalidate_for, warm
from warmer.invalidation import Relay, captures_by_triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_invalidate_for__queryset_and_instances(make_post: Any) -> None:
    first, second, third = (make_post() for _ in range(3))
    some, last = Post.objects.filter(pk__in=[first.pk, second.pk]), Post.objects.order_by("-pk")[:1]
    for rows, posts in ((some, [first, second]), (last, [third]), ([third], [third]), (first, [first])):
        keys = [*(f"post:{post.pk}" for post in (first, second, third)), "popular_posts"]
        assert gone_by(keys, invalidate_for, rows) == {*(f"post:{post.pk}" for post in posts), "popular_posts"}


@pytest.mark.parametrize("rows", [Post, Post.objects, 5, "5", [5], [Post], None])
def test_invalidate_for__takes_rows(rows: Any) -> None:
    with pytest.raises(TypeError, match=r"invalidate_for\(\) takes rows, .*: write invalidate_for\(\[row\]\)"):
        invalidate_for(rows)


def test_invalidate_for__is_what_a_change_without_a_signal_needs(make_post: Any) -> None:
    key = f"post:{make_post().pk}"
    assert gone_by([key], Post.objects.update, title="new") == ({key} if captures_by_triggers() else set())
    assert gone_by([key], invalidate_for, Post.objects.all()) == {key}


@pytest.fixture
def historical() -> Any:
    """The models as a migration has them, of a time when a comment had no post yet."""
    state = MigrationExecutor(connection).loader.project_state()
    state.remove_field("myapp", "comment", "post")
    return state.apps


@pytest.mark.parametrize("kind", [lambda rows: rows, list], ids=["queryset", "instances"])
def test_invalidate_for__historical_model_of_before_a_column(
    make_post: Any, make_comment: Any, historical: Any, kind: Any
) -> None:
    """Of a path by that column every key goes."""
    post, other = make_post(), make_post()
    comment = make_comment(post=post)
    job("of:{id}", {Comment: "post_id"})
    job("comment:{id}", {Comment: "id"})
    posts, comments = (historical.get_model("myapp", name).objects for name in ("Post", "Comment"))
    keys = [f"post:{post.pk}", f"post:{other.pk}"]
    assert gone_by(keys, invalidate_for, kind(posts.filter(pk=post.pk))) == {keys[0]}
    keys = ["of:1", "of:2", f"comment:{comment.pk}"]
    assert gone_by(keys, invalidate_for, kind(comments.all())) == set(keys)


@pytest.fixture
def titles() -> Any:
    """A job that nothing but its own `invalidate()` tells of a change."""
    return keyed.titles()


@pytest.mark.parametrize("is_open", [False, True], ids=["outside a transaction", "immediately"])
def test_invalidate__acts_at_once(titles: Any, is_open: bool) -> None:
    """What was asked for within a transaction stands, also if that is rolled back."""
    single: Any = warm("one", name="one")(lambda: 1)
    options = {"immediately": True} if is_open else {}
    keys = cached("one", "title:1", "title:2", "title:3")
    with rolled_back() if is_open else nullcontext():
        single.invalidate(**options)
        titles.invalidate([1], **options)
        assert gone(*keys) == {"one", "title:1"}
        titles.invalidate(**options)
        assert gone(*keys) == set(keys)
        assert waiting() == []
    assert gone(*keys) == set(keys)


@pytest.mark.parametrize("which", ["some", "all"])
def test_invalidate__inside_a_transaction_takes_effect_at_its_commit(make_post: Any, titles: Any, which: str) -> None:
    post = make_post(title="old")
    other = cached("title:0")
    assert titles.get(post.pk) == "old"

    with transaction.atomic(), ThreadPoolExecutor(1) as others:
        titles.invalidate([post.pk] if which == "some" else None)
        Post.objects.filter(pk=post.pk).update(title="new")
        assert titles.get(post.pk) == "new"  # what this transaction changed bypasses the cache
        assert cache.get(f"title:{post.pk}") == "old"
        # A reader who would put the old value back after an invalidation at once.
        assert others.submit(apart(titles.get), post.pk).result() == "old"
    assert gone(f"title:{post.pk}", *other) == {f"title:{post.pk}"} | ({*other} if which == "all" else set())
    assert titles.get(post.pk) == "new"
    assert waiting() == []


@pytest.mark.parametrize("savepoint", [False, True])
def test_invalidate__rolled_back_invalidates_nothing(make_post: Any, titles: Any, savepoint: bool) -> None:
    post = make_post(title="old")
    assert titles.get(post.pk) == "old"
    with transaction.atomic() if savepoint else nullcontext():
        with rolled_back():
            titles.invalidate([post.pk])
            Post.objects.filter(pk=post.pk).update(title="never")
        assert titles.get(post.pk) == "old"
    assert cache.get(f"title:{post.pk}") == "old"
    assert waiting() == []


def test_invalidate__every_key_where_no_query_is_allowed(titles: Any, caplog: pytest.LogCaptureFixture) -> None:
    cached("title:1")
    refuse = Mock(side_effect=AssertionError("Database queries are not allowed in this test"))
    with connection.execute_wrapper(refuse):  # as Django's SimpleTestCase
        titles.invalidate()
    assert gone("title:1")
    assert "Repairs of title are not recorded: " in caplog.text


def test_invalidate__whose_repair_cannot_be_recorded_leaves_the_transaction_usable(titles: Any) -> None:
    with rolled_back():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE warmer_cacheaudit RENAME TO elsewhere")
        titles.invalidate(immediately=True)
        assert not Post.objects.filter(title="new").exists()


def test_invalidate__while_the_cache_is_away(titles: Any, redis_server: RedisServer) -> None:
    redis_server.stop()
    with pytest.raises(StoreUnavailable):
        titles.invalidate([1])
    with transaction.atomic():
        with pytest.raises(StoreUnavailable):
            titles.invalidate([1], immediately=True)
        titles.invalidate([1])  # recorded, so it is not lost
    redis_server.start()
    assert gone_by(["title:1", "title:2"], Relay().poll) == {"title:1"}
    assert waiting() == []


class _SplitReads:
    """A router that sends reads to a replica, which is not there."""

    def db_for_read(self, model: Any, **_hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **_hints: Any) -> str:
        return "default"


@pytest.mark.parametrize("as_instance", [True, False])
def test_invalidate_for__goes_where_the_router_sends_the_write(
    settings: Any, make_post: Any, as_instance: bool
) -> None:
    post = make_post()
    cache.set(f"post:{post.pk}", "old")
    settings.DATABASE_ROUTERS = [f"{__name__}._SplitReads"]
    post._state.db = "replica"  # as if it was read there
    with transaction.atomic():
        invalidate_for(post if as_instance else Post.objects.filter(pk=post.pk))
        assert cache.get(f"post:{post.pk}") == "old"
    assert cache.get(f"post:{post.pk}") is None
