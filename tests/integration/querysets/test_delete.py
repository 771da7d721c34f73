"""`delete`: rows and what goes with them, without a query more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.test.utils import CaptureQueriesContext

from myapp.models import Comment, Post
from tests.integration.keyed import cached, gone, job
from tests.integration.querysets.bulk import COMMENTS, POSTS
from tests.integration.transactions import Rollback
from users.models import CustomUser
from warmer.models import PendingInvalidation
from warmer.querysets import WarmingQuerySet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_delete__invalidates_rows_and_what_goes_with_them(
    make_post: Any, make_comment: Any, make_user: Any
) -> None:
    post, other, reader = make_post(), make_post(), make_user()
    make_comment(post=post, author=reader)
    keys = cached(f"post:{post.pk}", f"user:{reader.pk}:profile", f"post:{other.pk}")
    assert WarmingQuerySet(CustomUser).filter(pk=reader.pk).delete() == (
        2,
        {"users.CustomUser": 1, "myapp.Comment": 1},
    )
    assert gone(*keys) == set(keys[:2])
    cached(*keys)
    assert POSTS.filter(pk=post.pk).delete() == (1, {"myapp.Post": 1})
    assert gone(*keys) == {keys[0]}


def queries_of(call: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        call()
    return [query["sql"] for query in captured]


def test_delete__needs_no_query_more(
    make_post: Any, make_comment: Any, by_author: Any, one_outbox: None
) -> None:
    def ask(rows: Any) -> int:
        for _ in range(3):
            make_comment(post=make_post())
        with transaction.atomic():
            return len(queries_of(rows.all().delete))

    assert ask(POSTS) == ask(Post.objects)


@pytest.mark.parametrize("condition", [lambda: COMMENTS.all(), lambda: COMMENTS.filter(post__title="T")])
def test_delete__path_over_a_relation_is_one_query_for_all_rows(
    make_post: Any, make_comment: Any, one_outbox: None, condition: Any
) -> None:
    job("a:{id}", {Comment: "post__author_id"})
    posts = [make_post(title="T") for _ in range(3)]
    for post in posts:
        make_comment(post=post)
    keys = cached(*(f"a:{post.author_id}" for post in posts), *(f"post:{post.pk}" for post in posts))
    with transaction.atomic():
        asked = queries_of(condition().delete)
    assert len(asked) <= 3, asked  # the look, Django's own look, the delete
    assert gone(*keys) == set(keys)
    assert not Comment.objects.exists()


@pytest.mark.parametrize(
    "condition",
    [
        lambda rows: rows.annotate(comments_=models.Count("comments")).filter(comments_=2),
        lambda rows: rows.annotate(n=models.Count("comments")).alias(m=models.F("n")).filter(m=2),
        lambda rows: rows.filter(comments__body__contains="").defer("body").select_related("author"),
        lambda rows: rows.exclude(comments=None).extra(select={"one": "1"}),
    ],
)
@pytest.mark.parametrize("rows", [POSTS, Post.objects], ids=["warming", "plain"])
def test_delete__of_any_queryset_invalidates_what_refers_to_its_rows(
    rows: Any, condition: Any, make_post: Any, make_comment: Any, by_author: Any
) -> None:
    job("a:{id}", {Comment: "post__author_id"})
    job("c:{id}", {Comment: "author_id"})
    post, other = make_post(), make_post()
    comments = [make_comment(post=post), make_comment(post=post)]
    keys = cached(f"a:{post.author_id}", *(f"c:{each.author_id}" for each in comments), f"post:{other.pk}")
    condition(rows.all()).delete()
    assert set(Post.objects.all()) == {other}
    assert gone(*keys) == set(keys[:3])


def test_delete__writes_one_row_to_the_outbox(make_post: Any, make_comment: Any, by_author: Any) -> None:
    posts = [make_post() for _ in range(3)]
    for post in posts:
        make_comment(post=post)
    with transaction.atomic():
        POSTS.all().delete()
        (kept,) = PendingInvalidation.objects.values_list("jobs", flat=True)
        assert set(kept["posts"]) == {post.pk for post in posts}
        assert set(kept[by_author.name]) == {post.author_id for post in posts}
    assert PendingInvalidation.objects.count() == 0


def test_delete__rolled_back_changes_nothing(make_post: Any) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}")
    with pytest.raises(Rollback), transaction.atomic():
        POSTS.all().delete()
        raise Rollback
    assert gone(*keys) == set()
    assert not PendingInvalidation.objects.exists()


def test_delete__that_fails_keeps_nothing_in_the_outbox(make_post: Any, make_user: Any) -> None:
    post = make_post()  # protects its author
    keys = cached(f"user:{post.author_id}:profile")
    with pytest.raises(models.ProtectedError):
        WarmingQuerySet(CustomUser).filter(pk=post.author_id).delete()
    assert gone(*keys) == set()
    assert not PendingInvalidation.objects.exists()
    with transaction.atomic():
        post.save()
        assert PendingInvalidation.objects.count() == 1  # nothing gathers any more


@pytest.mark.parametrize(
    "refused", [lambda: POSTS.all()[:1], lambda: POSTS.values("pk"), lambda: POSTS.distinct("title")]
)
def test_delete__raises_what_django_raises(refused: Any) -> None:
    with pytest.raises(TypeError):
        refused().delete()


def test_raw_delete__invalidates_too(make_post: Any, make_comment: Any) -> None:
    post, other = make_post(), make_post()
    comment = make_comment(post=post)
    make_comment(post=other)
    keys = cached(f"post:{post.pk}", f"post:{other.pk}")
    assert COMMENTS.filter(pk=comment.pk)._raw_delete("default") == 1
    assert gone(*keys) == {keys[0]}
    cached(*keys)
    assert COMMENTS.filter(post__title=other.title)._raw_delete(using="default") == 1
    assert gone(*keys) == {keys[1]}
