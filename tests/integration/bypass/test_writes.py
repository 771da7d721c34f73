"""Which writes are found, and what matches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models import F

from myapp.models import Post
from tests.integration.bypass.finding import found
from tests.integration.querysets.bulk import POSTS
from warmer import invalidate_for, warm

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def raw(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def several(*statements: str) -> None:
    """Have statements executed as one, which SQLite refuses."""
    if connection.vendor == "postgresql":
        raw("; ".join(statements))
    else:
        for each in statements:
            raw(each)


WRITES: dict[str, Callable[[Any], object]] = {
    "update": lambda post: Post.objects.update(title="New"),
    "update without effect on the value": lambda post: Post.objects.update(title=F("title")),
    "bulk_update": lambda post: Post.objects.bulk_update([post], ["title"]),
    "bulk_create": lambda post: Post.objects.bulk_create(
        [Post(author=post.author, slug="new", title="t", body="b")]
    ),
    "ignored conflicts": lambda post: Post.objects.bulk_create(
        [Post(author=post.author, slug="new", title="t", body="b")], ignore_conflicts=True
    ),
    "raw delete": lambda post: Post.objects.filter(pk=post.pk)._raw_delete("default"),
    "raw update": lambda post: raw("update myapp_post set title = 'New' where id = %s", post.pk),
    "raw update with a table of its own": lambda post: raw(
        'WITH old AS (SELECT id FROM myapp_post) UPDATE "myapp_post" SET title = %s', "New"
    ),
    "raw delete of all": lambda post: raw(
        "TRUNCATE myapp_post CASCADE" if connection.vendor == "postgresql" else "DELETE FROM myapp_post"
    ),
    "raw delete by hand": lambda post: raw("DELETE FROM myapp_post WHERE id = %s", post.pk),
    "in one with another": lambda post: several(
        "UPDATE myapp_post SET title = 'New' WHERE id < 0", "UPDATE myapp_post SET title = 'New'"
    ),
    "in one with a look": lambda post: several("SELECT 1", "UPDATE myapp_post SET title = 'New'"),
    "executemany": lambda post: connection.cursor().executemany(
        "UPDATE myapp_post SET title = %s", [("a",), ("b",)]
    ),
}


@pytest.mark.parametrize("way", WRITES)
def test_write__in_a_transaction_is_found_before_the_commit(make_post: Any, raising: None, way: str) -> None:
    post = make_post()

    def write() -> None:
        with transaction.atomic():
            Group.objects.create(name="beside it")
            WRITES[way](post)

    message = found(write)
    assert "The table 'myapp_post' was changed by a" in message
    assert "tests/integration/bypass/test_writes.py:" in message
    assert "nothing was invalidated for the jobs popular_posts, posts." in message
    assert "warmer.invalidate_for(...)" in message
    assert "warmer.querysets.WarmingQuerySet" in message
    # Nothing of it happened.
    assert not Group.objects.exists()
    assert list(Post.objects.values_list("title")) == [(post.title,)]
    assert connection.get_autocommit()
    assert found() == ""


@pytest.mark.parametrize("way", WRITES)
def test_write__in_autocommit_is_found_by_a_check(make_post: Any, raising: None, way: str) -> None:
    post = make_post()
    WRITES[way](post)
    assert "The table 'myapp_post' was changed by a" in found()
    assert found() == ""  # said once


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("way", WRITES)
def test_write__in_a_transaction_is_matched_by_invalidate_for(
    make_post: Any, raising: None, way: str, before: bool
) -> None:
    post = make_post()
    with transaction.atomic():
        if before:
            invalidate_for(post)
        WRITES[way](post)
        if not before:
            invalidate_for(post)
    assert found() == ""


@pytest.mark.parametrize("way", WRITES)
def test_write__in_autocommit_is_matched_by_what_comes_after_it(
    make_post: Any, raising: None, way: str
) -> None:
    post = make_post()
    WRITES[way](post)
    invalidate_for([post])
    assert found() == ""


def test_write__in_autocommit_is_not_matched_by_what_came_before_it(make_post: Any, raising: None) -> None:
    """A reader may have filled the cache between the two."""
    post = make_post()
    invalidate_for(post)
    Post.objects.update(title="New")
    assert found() != ""


def test_write__is_not_matched_by_a_save_of_another_row(make_post: Any, raising: None) -> None:
    post, other = make_post(), make_post()

    def write() -> None:
        with transaction.atomic():
            other.save()
            Post.objects.filter(pk=post.pk).update(title="New")
            other.save()
            POSTS.filter(pk=other.pk).update(title="Newer")
            other.delete()

    assert "an UPDATE at" in found(write)
    Post.objects.filter(pk=post.pk).update(title="New")
    Post.objects.get(pk=post.pk).save()
    assert "an UPDATE at" in found()


def test_write__is_not_matched_by_a_queryset_that_its_rows_have_left(make_post: Any, raising: None) -> None:
    make_post(title="draft")
    drafts = Post.objects.filter(title="draft")

    def write() -> None:
        with transaction.atomic():
            drafts.update(title="done")
            invalidate_for(drafts)

    assert "an UPDATE at" in found(write)


def test_write__is_matched_for_some_jobs_and_not_for_others(
    make_post: Any, make_comment: Any, raising: None
) -> None:
    post = make_post()
    comment = make_comment(post=post)

    def write() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")
            invalidate_for(comment)

    # The job `posts` depends on comments, too; the job `popular_posts` does not.
    assert "nothing was invalidated for the job popular_posts." in found(write)


def test_write__that_changed_nothing_is_none(make_post: Any, raising: None) -> None:
    with transaction.atomic():
        Post.objects.filter(pk=0).update(title="New")
        raw("DELETE FROM myapp_post WHERE id = 0")
    Post.objects.filter(pk=0).update(title="New")
    assert found() == ""


def test_write__that_failed_is_none(make_post: Any, raising: None) -> None:
    post, other = make_post(), make_post()
    with pytest.raises(Exception, match=r"(?i)unique"):
        Post.objects.filter(pk=post.pk).update(slug=other.slug)
    assert found() == ""


def test_write__of_a_table_without_a_job_is_none(raising: None) -> None:
    Group.objects.bulk_create([Group(name="a")])
    Group.objects.update(name="b")
    raw("DELETE FROM auth_group")
    assert found() == ""


def test_tables__follow_the_jobs(raising: None, registry_of_groups: Callable[[], None]) -> None:
    Group.objects.bulk_create([Group(name="a")])
    assert found() == ""
    registry_of_groups()
    Group.objects.update(name="b")
    assert "'auth_group'" in found()


@pytest.fixture
def registry_of_groups() -> Callable[[], None]:
    return lambda: warm("groups", name="groups", depends_on=[Group])(lambda: 1) and None
