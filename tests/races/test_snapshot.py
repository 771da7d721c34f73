"""Transactions that read a snapshot: only PostgreSQL shows them, as SQLite's hold the write lock here."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction

from myapp.models import Post
from tests.races.conftest import Filled
from tests.support.others import in_thread
from warmer import warm_many
from warmer.testing import at

pytestmark = pytest.mark.django_db(transaction=True)


LEVELS = ("REPEATABLE READ", "SERIALIZABLE")


def isolate(level: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")


@pytest.mark.parametrize("level", LEVELS)
def test_snapshot__older_than_the_token_stores_nothing(filled: Filled, level: str) -> None:
    """A transaction that read before a change sees the old row after it, whatever token it takes."""
    with transaction.atomic():
        isolate(level)
        assert Post.objects.get(pk=filled.post.pk).title == "old"
        changing = in_thread(lambda: filled.change("new"))
        changing.join()
        assert Post.objects.get(pk=filled.post.pk).title == "old"
        filled.fill()
        assert filled.cached in (None, "new")
    assert filled.cached in (None, "new")


@pytest.fixture
def snapshotting(make_post: Any, own_jobs: None) -> Any:
    """A job whose loader takes a snapshot of its own, after the fill has taken its token."""

    @warm_many("snap:{id}", ids=list, name="snapshots", depends_on={Post: "id"})
    def snapshots(ids: Sequence[int]) -> dict[int, str]:
        with transaction.atomic():
            isolate("REPEATABLE READ")
            return dict(Post.objects.filter(pk__in=ids).values_list("pk", "title"))

    return snapshots


@pytest.mark.parametrize("way", ["get", "warm"])
@pytest.mark.parametrize("point", ["", "token_taken", "loaded", "written"])
def test_snapshot__younger_than_the_token_is_stored_unless_overtaken(
    snapshotting: Any, make_post: Any, way: str, point: str
) -> None:
    post = make_post(title="old")

    def change() -> None:
        Post.objects.get(pk=post.pk)
        post.title = "new"
        post.save()

    with at(point, change, job="snapshots") if point else nullcontext():
        snapshotting.get(post.pk) if way == "get" else snapshotting.warm([post.pk])
    assert cache.get(f"snap:{post.pk}") in ((None, "new") if point else ("old",))
