"""`bulk_update`: the ids that rows had, and those that they get."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import transaction
from django.db.models import F, Value

from myapp.models import Comment, Post
from tests.integration.keyed import cached, gone, job
from tests.integration.querysets.bulk import COMMENTS, POSTS
from users.models import CustomUser
from warmer.querysets import WarmingQuerySet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_bulk_update__moved_rows_invalidate_the_old_and_the_new_ids(
    make_post: Any, make_comment: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    a, b, c, d, other = (make_post() for _ in range(5))
    first, second = make_comment(post=a), make_comment(post=b)
    first.post, second.post = c, d
    keys = cached(*(f"post:{post.pk}" for post in (a, b, c, d, other)))
    with transaction.atomic(), django_assert_num_queries(2):
        assert COMMENTS.bulk_update([first, second], ["post"]) == 2
    assert gone(*keys) == set(keys[:4])


def test_bulk_update__instance_older_than_its_row(make_post: Any, make_comment: Any) -> None:
    a, b, c = make_post(), make_post(), make_post()
    comment = make_comment(post=a)
    Comment.objects.update(post=b)
    keys = cached(*(f"post:{post.pk}" for post in (a, b, c)))
    comment.body = "New"
    COMMENTS.bulk_update([comment], ["body"])
    assert gone(*keys) == {keys[1]}
    cached(*keys)
    comment.post = c
    COMMENTS.bulk_update([comment], ["post"])
    assert gone(*keys) == set(keys[1:])


def test_bulk_update__of_rows_that_cannot_move_asks_nothing(
    make_user: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    users = [make_user() for _ in range(3)]
    keys = cached(*(f"user:{user.pk}:profile" for user in users))
    with transaction.atomic(), django_assert_num_queries(1):
        assert WarmingQuerySet(CustomUser).bulk_update(users[:2], ["location"]) == 2
    assert gone(*keys) == set(keys[:2])


def test_bulk_update__computed_values(make_post: Any, make_comment: Any) -> None:
    a, b, other = make_post(), make_post(), make_post()
    comment = make_comment(post=a)
    keys = cached(*(f"post:{post.pk}" for post in (a, b, other)))
    comment.post_id = Value(b.pk)
    COMMENTS.bulk_update([comment], ["post_id"])
    assert gone(*keys) == set(keys[:2])
    cached(*keys)
    comment.post_id = F("post_id") - (b.pk - a.pk)
    COMMENTS.bulk_update([comment], ["post_id"])
    assert gone(*keys) == set(keys)


def test_bulk_update__function_of_the_instance(make_post: Any) -> None:
    job("t:{id}", {Post: lambda post: f"{post.title}-{post.views}"})
    post = make_post(title="old", views=1)
    Post.objects.update(views=2)
    post.title = "new"
    keys = cached("t:old-2", "t:new-2", "t:new-1")
    POSTS.bulk_update([post], ["title"])
    assert gone(*keys) == set(keys[:2])


def test_bulk_update__in_batches_is_one_look(
    make_post: Any, make_comment: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    post = make_post()
    comments = [make_comment(post=post) for _ in range(4)]
    with transaction.atomic(), django_assert_num_queries(1 + 2):
        assert COMMENTS.bulk_update(comments, ["body"], batch_size=2) == 4


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda post: POSTS.bulk_update([post], []), ValueError),
        (lambda post: POSTS.bulk_update([post], ["id"]), ValueError),
        (lambda post: POSTS.bulk_update([post], ["nothing"]), FieldDoesNotExist),
        (lambda post: POSTS.bulk_update([post], ["title"], batch_size=-1), ValueError),
        (lambda post: POSTS.bulk_update([Post()], ["title"]), ValueError),
        (lambda post: POSTS.all()[:1].bulk_update([post], ["title"]), TypeError),
    ],
)
def test_bulk_update__raises_what_django_raises(
    make_post: Any, by_author: Any, call: Any, error: Any
) -> None:
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}")
    with pytest.raises(error):
        call(post)
    assert gone(*keys) == set()


def test_bulk_update__of_nothing_is_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert POSTS.bulk_update([], ["title"]) == 0
