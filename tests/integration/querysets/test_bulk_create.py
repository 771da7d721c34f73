"""`bulk_create`: the ids of new rows, and of those that they are in conflict with."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from myapp.models import Comment, Post
from tests.integration.keyed import cached, gone, job
from tests.integration.querysets.bulk import COMMENTS, POSTS, new_post
from tests.integration.transactions import Rollback

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_bulk_create__invalidates_the_ids_of_new_rows(
    make_user: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    author, other = make_user(), make_user()
    keys = cached(f"author:{author.pk}:posts", "popular_posts", f"author:{other.pk}:posts")
    with transaction.atomic(), django_assert_num_queries(1):
        made = POSTS.bulk_create([new_post(author, "a"), new_post(author, "b")])
    assert [post.slug for post in made] == ["a", "b"]
    assert all(post.pk for post in made)
    assert gone(*keys) == set(keys[:2])


def test_bulk_create__invalidates_the_primary_keys_of_new_rows(make_user: Any) -> None:
    """A loader may have had a value for an id that had no row."""
    last = POSTS.bulk_create([new_post(make_user(), "a")])[0].pk
    keys = cached(f"post:{last + 1}", f"post:{last + 2}")
    POSTS.bulk_create([new_post(make_user(), "b")])
    assert gone(*keys) == {keys[0]}


def test_bulk_create__path_over_a_relation_is_one_query(
    make_post: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    job("a:{id}", {Comment: "post__author_id"})
    job("l:{id}", {Comment: "post__author__location"})
    post = make_post()
    keys = cached(f"a:{post.author_id}", "a:0")
    with transaction.atomic(), django_assert_num_queries(2):
        COMMENTS.bulk_create([Comment(post=post, author=post.author, body="x")])
    assert gone(*keys) == {keys[0]}


def test_bulk_create__function_of_the_instance(make_user: Any) -> None:
    job("slug:{id}", {Post: lambda post: f"{post.slug}-{post.pk is not None}"})
    keys = cached("slug:a-True", "slug:b-True")
    POSTS.bulk_create([new_post(make_user(), "a")])
    assert gone(*keys) == {keys[0]}


def test_bulk_create__where_new_keys_are_unknown_asks_for_the_rows(
    make_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a MySQL, which returns none."""
    last = POSTS.bulk_create([new_post(make_user(), "a")])[0].pk
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    keys = cached(f"post:{last}", f"post:{last + 1}")
    made = POSTS.bulk_create([new_post(make_user(), "b")])
    assert made[0].pk is None
    assert gone(*keys) == {keys[1]}


def test_bulk_create__where_rows_cannot_be_told_all_keys_go(
    make_post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job("comment:{id}", {Comment: "pk"})
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    post = make_post()
    keys = cached("comment:1", "comment:2")
    COMMENTS.bulk_create([Comment(post=post, author=post.author, body="x")])
    assert gone(*keys) == set(keys)


def test_bulk_create__ignored_conflicts(
    make_user: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    """Django gives no keys here: the new rows are found again by their unique column."""
    author, other = make_user(), make_user()
    there = POSTS.bulk_create([new_post(other, "there")])[0]
    # PostgreSQL gives a number to the row that is left out, too.
    keys = cached(*(f"post:{there.pk + more}" for more in range(1, 10)), f"author:{author.pk}:posts")
    with transaction.atomic(), django_assert_num_queries(2):
        POSTS.bulk_create([new_post(author, "there"), new_post(author, "new")], ignore_conflicts=True)
    new = Post.objects.get(slug="new")
    assert Post.objects.get(slug="there").author == other
    assert f"post:{new.pk}" in keys
    assert gone(*keys) == {f"post:{new.pk}", keys[-1]}


def test_bulk_create__ignored_conflicts_of_local_ids_need_no_query(
    make_post: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}", "post:0")
    with transaction.atomic(), django_assert_num_queries(1):
        COMMENTS.bulk_create([Comment(post=post, author=post.author, body="x")], ignore_conflicts=True)
    assert gone(*keys) == {keys[0]}


def test_bulk_create__updated_conflict_that_keeps_its_id(
    make_user: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    """The object says another author than its row has; the row's author is not written."""
    old, named, other = make_user(), make_user(), make_user()
    there = POSTS.bulk_create([new_post(old, "there")])[0]
    keys = cached(f"author:{old.pk}:posts", f"post:{there.pk}", f"author:{other.pk}:posts")
    with transaction.atomic(), django_assert_num_queries(2):
        POSTS.bulk_create(
            [new_post(named, "there", views=7)],
            update_conflicts=True,
            unique_fields=["slug"],
            update_fields=["views"],
        )
    there.refresh_from_db()
    assert (there.author_id, there.views) == (old.pk, 7)
    assert gone(*keys) == set(keys[:2])


def test_bulk_create__updated_conflict_that_moves(
    make_user: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    old, new, other = make_user(), make_user(), make_user()
    there = POSTS.bulk_create([new_post(old, "there")])[0]
    keys = cached(
        *(f"author:{user.pk}:posts" for user in (old, new)), f"post:{there.pk}", f"author:{other.pk}:posts"
    )
    with transaction.atomic(), django_assert_num_queries(2):
        POSTS.bulk_create(
            [new_post(new, "there")],
            update_conflicts=True,
            unique_fields=["slug"],
            update_fields=["author"],
        )
    there.refresh_from_db()
    assert there.author_id == new.pk
    assert gone(*keys) == set(keys[:3])


def test_bulk_create__updated_conflicts_that_move_beside_new_rows(make_user: Any, by_author: Any) -> None:
    """On PostgreSQL a new row may have been another's a moment ago, so the whole job goes."""
    old, new, newer, other = (make_user() for _ in range(4))
    POSTS.bulk_create([new_post(old, "there")])
    keys = cached(*(f"author:{user.pk}:posts" for user in (old, new, newer, other)))
    POSTS.bulk_create(
        [new_post(new, "there"), new_post(newer, "new")],
        update_conflicts=True,
        unique_fields=["slug"],
        update_fields=["author"],
    )
    assert gone(*keys) == set(keys if connection.vendor == "postgresql" else keys[:3])


def test_bulk_create__updated_conflict_of_a_function(make_user: Any) -> None:
    job("t:{id}", {Post: lambda post: f"{post.title}-{post.views}"})
    author = make_user()
    Post.objects.create(author=author, slug="there", title="old", views=1, body="b")
    keys = cached("t:old-1", "t:new-1", "t:old-9")
    POSTS.bulk_create(
        [Post(author=author, slug="there", title="new", views=9, body="b")],
        update_conflicts=True,
        unique_fields=["slug"],
        update_fields=["title"],
    )
    assert gone(*keys) >= set(keys[:2])
    assert "t:old-9" not in gone(*keys)


def test_bulk_create__updated_conflict_with_a_key_that_is_another_row(make_user: Any) -> None:
    """Django leaves the key that was given in the object; the row in conflict has its own."""
    author = make_user()
    there = POSTS.bulk_create([new_post(author, "there")])[0]
    keys = cached(f"post:{there.pk}", f"post:{there.pk + 50}")
    POSTS.bulk_create(
        [new_post(author, "there", pk=there.pk + 100, views=3)],
        update_conflicts=True,
        unique_fields=["slug"],
        update_fields=["views"],
    )
    assert gone(*keys) == {keys[0]}


def test_bulk_create__updated_conflict_on_two_columns(shop: Any) -> None:
    job("reader:{id}", {shop.Lent: "reader"})
    shelf = shop.Shelf.objects.create()
    shop.Lent.objects.create(shelf=shelf, place=1, reader=10)
    shop.Lent.objects.create(shelf=shelf, place=2, reader=20)
    shop.Lent.objects.create(shelf=shelf, place=3, reader=30)
    keys = cached(*(f"reader:{reader}" for reader in (10, 11, 20, 21, 30, 31)))
    shop.Lent.objects.bulk_create(
        [shop.Lent(shelf=shelf, place=1, reader=11), shop.Lent(shelf=shelf, place=2, reader=21)],
        update_conflicts=True,
        unique_fields=["shelf", "place"],
        update_fields=["reader"],
    )
    assert list(shop.Lent.objects.order_by("place").values_list("reader", flat=True)) == [11, 21, 30]
    assert gone(*keys) == set(keys[:4])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": -1}, ValueError),
        ({"ignore_conflicts": True, "update_conflicts": True}, ValueError),
        ({"update_conflicts": True, "update_fields": ["views"]}, ValueError),
        ({"update_conflicts": True, "unique_fields": ["slug"]}, ValueError),
        ({"update_conflicts": True, "unique_fields": ["nothing"], "update_fields": ["views"]}, Exception),
        ({"update_conflicts": True, "unique_fields": ["slug"], "update_fields": ["nothing"]}, Exception),
        ({}, IntegrityError),
    ],
)
def test_bulk_create__raises_what_django_raises(make_user: Any, options: Any, error: Any) -> None:
    author = make_user()
    Post.objects.create(author=author, slug="there", title="t", body="b")
    keys = cached("popular_posts")
    with pytest.raises(error) as ours:
        POSTS.bulk_create([new_post(author, "there")], **options)
    with pytest.raises(error) as djangos:
        Post.objects.bulk_create([new_post(author, "there")], **options)
    assert type(ours.value) is type(djangos.value)
    assert str(ours.value) == str(djangos.value)
    assert gone(*keys) == set()


@pytest.mark.parametrize("nothing", [[], ()])
def test_bulk_create__of_nothing_is_nothing(django_assert_num_queries: Any, nothing: Any) -> None:
    keys = cached("popular_posts")
    with django_assert_num_queries(0):
        assert POSTS.bulk_create(nothing) is nothing
    assert gone(*keys) == set()


def test_bulk_create__rolled_back_changes_nothing(make_user: Any) -> None:
    keys = cached("popular_posts")
    with pytest.raises(Rollback), transaction.atomic():
        POSTS.bulk_create([new_post(make_user(), "a")])
        raise Rollback
    assert gone(*keys) == set()
