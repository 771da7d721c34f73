"""`update`: whatever the condition and the values, what rows gave before and give after it is invalidated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import IntegrityError, connection, transaction
from django.db.models import Case, Count, F, IntegerField, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce

from myapp.models import Comment, Post
from tests.integration.keyed import cached, gone, job
from tests.integration.querysets.bulk import COMMENTS, POSTS
from tests.integration.transactions import Rollback
from users.models import CustomUser
from warmer import querysets
from warmer.models import PendingInvalidation
from warmer.querysets import WarmingQuerySet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_update__invalidates_the_rows_that_it_touches_and_no_others(make_post: Any) -> None:
    touched, other = make_post(slug="touched"), make_post()
    keys = cached(f"post:{touched.pk}", "popular_posts", f"post:{other.pk}")
    assert POSTS.filter(slug="touched").update(title="New") == 1
    assert gone(*keys) == set(keys[:2])
    assert Post.objects.get(pk=touched.pk).title == "New"


def test_update__moves_out_of_its_own_condition(make_post: Any) -> None:
    """After it, the queryset has no row that could be given to `invalidate_for`."""
    post = make_post(title="draft")
    keys = cached(f"post:{post.pk}")
    assert POSTS.filter(title="draft").update(title="done") == 1
    assert gone(*keys) == set(keys)


@pytest.mark.parametrize(
    "assigned",
    [
        lambda old, new: {"post": new},
        lambda old, new: {"post": new.pk},
        lambda old, new: {"post_id": str(new.pk)},
        lambda old, new: {"post_id": Value(new.pk)},
        lambda old, new: {"post_id": F("post_id") + (new.pk - old.pk)},
        lambda old, new: {
            "post": Case(When(body="moves", then=new.pk), default=F("post"), output_field=IntegerField())
        },
        lambda old, new: {"post_id": Coalesce(F("post_id") * 0 + new.pk, old.pk)},
    ],
)
def test_update__moved_row_invalidates_the_old_and_the_new_id(
    make_post: Any, make_comment: Any, assigned: Any
) -> None:
    old, new, other = make_post(), make_post(), make_post()
    make_comment(post=old, body="moves")
    keys = cached(*(f"post:{post.pk}" for post in (old, new, other)))
    assert COMMENTS.filter(body="moves").update(**assigned(old, new)) == 1
    assert Comment.objects.get(body="moves").post_id == new.pk
    assert gone(*keys) == set(keys[:2])


def test_update__value_that_cannot_be_told_costs_the_whole_job(make_post: Any, make_comment: Any) -> None:
    old, new, other = make_post(), make_post(slug="new"), make_post()
    comment = make_comment(post=old)
    keys = cached(*(f"post:{post.pk}" for post in (old, new, other)))
    COMMENTS.filter(pk=comment.pk).update(post_id=Subquery(Post.objects.filter(slug="new").values("pk")))
    assert Comment.objects.get().post_id == new.pk
    assert gone(*keys) == set(keys)


def test_update__expression_over_an_annotation_costs_the_whole_job(make_post: Any, make_comment: Any) -> None:
    old, new = make_post(), make_post()
    make_comment(post=old)
    keys = cached(f"post:{old.pk}", f"post:{new.pk}")
    COMMENTS.annotate(where=F("post_id") + (new.pk - old.pk)).update(post_id=F("where"))
    assert gone(*keys) == set(keys)


def test_update__null_is_no_id(shop: Any) -> None:
    job("shelf:{id}", {shop.Book: "shelf"})
    old, new = shop.Shelf.objects.create(), shop.Shelf.objects.create()
    shop.Book.objects.bulk_create([shop.Book(code="a", shelf=old), shop.Book(code="b")])
    keys = cached(f"shelf:{old.pk}", f"shelf:{new.pk}", "shelf:None")
    shop.Book.objects.filter(code="a").update(shelf=None)
    assert gone(*keys) == {keys[0]}
    shop.Book.objects.update(shelf=new)
    assert gone(*keys) == set(keys[:2])


def test_update__function_of_the_instance_sees_it_before_and_after(make_post: Any) -> None:
    job("slug:{id}", {Post: lambda post: [post.slug, f"{post.slug}-{post.views}"]})
    make_post(slug="old", views=1)
    make_post(slug="other", views=1)
    keys = cached("slug:old", "slug:old-1", "slug:new", "slug:new-3", "slug:other", "slug:other-1")
    POSTS.filter(slug="old").update(slug="new", views=F("views") + 2)
    assert gone(*keys) == set(keys[:4])


def test_update__function_that_fails_costs_the_job_and_not_the_update(make_post: Any) -> None:
    def ids(post: Post) -> Any:
        raise ValueError("no ids")

    job("f:{id}", {Post: ids})
    make_post()
    keys = cached("f:1", "f:2")
    assert POSTS.update(title="New") == 1
    assert gone(*keys) == set(keys)


def test_update__path_over_a_relation(make_post: Any, make_comment: Any) -> None:
    job("a:{id}", {Comment: "post__author_id"})
    mine, other = make_post(), make_post()
    comment = make_comment(post=mine)
    keys = cached(f"a:{mine.author_id}", f"a:{other.author_id}")
    COMMENTS.filter(pk=comment.pk).update(body="New")
    assert gone(*keys) == {keys[0]}
    cached(*keys)
    COMMENTS.filter(pk=comment.pk).update(post=other)
    assert gone(*keys) == set(keys)


def test_update__path_over_many_to_many(shop: Any) -> None:
    job("tag:{id}", {shop.Book: "tags"})
    tags = [shop.Tag.objects.create() for _ in range(3)]
    book = shop.Book.objects.create(code="a")
    book.tags.set(tags[:2])
    keys = cached(*(f"tag:{tag.pk}" for tag in tags))
    assert shop.Book.objects.filter(code="a").update(title="New") == 1
    assert gone(*keys) == set(keys[:2])


def test_update__job_of_whole_models_needs_no_look(one_outbox: None, django_assert_num_queries: Any) -> None:
    job("all:{id}", [Group])
    group = Group.objects.create(name="a")
    keys = cached("all:1", "all:2")
    with transaction.atomic(), django_assert_num_queries(1):
        WarmingQuerySet(Group).filter(pk=group.pk).update(name="b")
    assert gone(*keys) == set(keys)
    cached(*keys)
    WarmingQuerySet(Group).filter(pk=0).update(name="c")
    assert gone(*keys) == set()


CONDITIONS: dict[str, Callable[[], Any]] = {
    "all": lambda: POSTS.all(),
    "column": lambda: POSTS.filter(is_popular=True, title__startswith="Post"),
    "exclude": lambda: POSTS.exclude(title="x"),
    "ordered": lambda: POSTS.order_by("-views"),
    "join": lambda: POSTS.filter(author__is_active=True),
    "many join": lambda: POSTS.filter(author__groups__name="editors"),
    "outer join": lambda: POSTS.filter(comments__isnull=True),
    "aggregate": lambda: POSTS.annotate(n=Count("comments")).filter(n=0),
    "subquery": lambda: POSTS.filter(author__in=CustomUser.objects.filter(is_active=True)),
    "slice in a subquery": lambda: POSTS.filter(pk__in=Post.objects.order_by("pk")[:5]),
    "distinct": lambda: POSTS.distinct(),
    "function": lambda: POSTS.filter(title__iregex="POST"),
    "values": lambda: POSTS.values("title"),
    "values with an aggregate": lambda: POSTS.values("title").annotate(n=Count("comments")),
    "only": lambda: POSTS.only("title"),
    "annotated": lambda: POSTS.annotate(
        last=Subquery(Comment.objects.filter(post=OuterRef("pk")).values("pk")[:1])
    ).filter(last=None),
    "select related": lambda: POSTS.select_related("author").prefetch_related("comments"),
    "evaluated": lambda: _evaluated(POSTS.filter(is_popular=True)),
}


def _evaluated(rows: Any) -> Any:
    assert list(rows)
    return rows


@pytest.mark.parametrize("ids", ["author_id", "author__location", lambda post: post.author_id])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_update__any_condition_is_one_look(
    make_post: Any,
    make_user: Any,
    one_outbox: None,
    django_assert_num_queries: Any,
    condition: str,
    ids: Any,
) -> None:
    job("author:{id}:posts", {Post: ids})
    author = make_user(location="here")
    author.groups.add(Group.objects.create(name="editors"))
    made = [make_post(author=author) for _ in range(3)]
    keys = cached(*(f"post:{post.pk}" for post in made), f"author:{author.pk}:posts", "author:here:posts")
    rows = CONDITIONS[condition]()
    with transaction.atomic(), django_assert_num_queries(2):
        assert rows.update(title="New") == 3
    assert set(Post.objects.values_list("title", flat=True)) == {"New"}
    assert gone(*keys) == {*keys[:3], keys[4] if ids == "author__location" else keys[3]}


def test_update__nothing_matches_costs_the_look(
    make_post: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}", "popular_posts")
    with transaction.atomic():
        with django_assert_num_queries(1):
            assert POSTS.filter(pk=0).update(title="New") == 0
        with django_assert_num_queries(0):
            assert POSTS.none().update(title="New") == 0
            assert POSTS.filter(pk__in=[]).update(title="New") == 0
    assert gone(*keys) == set()


def test_update__evaluated_queryset_reads_again(make_post: Any) -> None:
    make_post(title="old")
    rows = POSTS.all()
    assert [post.title for post in rows] == ["old"]
    rows.update(title="new")
    assert [post.title for post in rows] == ["new"]


def test_update__many_rows_are_one_look(
    make_post: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    post = make_post()
    COMMENTS.bulk_create(Comment(post=post, author=post.author, body="x") for _ in range(1500))
    keys = cached(f"post:{post.pk}")
    for rows in (COMMENTS.all(), COMMENTS.filter(author__is_active=True)):
        cached(*keys)
        with transaction.atomic(), django_assert_num_queries(2):
            assert rows.update(body="y") == 1500
        assert gone(*keys) == set(keys)


def test_update__more_rows_than_one_statement_can_name(
    make_post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(querysets, "IN_LIMIT", 4)
    made = [make_post() for _ in range(5)]
    keys = cached(*(f"post:{post.pk}" for post in made))
    assert POSTS.filter(author__is_active=True).update(title="New") == 5
    assert gone(*keys) == set(keys)


def test_update__writes_one_row_to_the_outbox(make_post: Any, by_author: Any) -> None:
    for _ in range(3):
        make_post()
    with transaction.atomic():
        POSTS.update(title="New")
        assert PendingInvalidation.objects.count() == 1
    assert PendingInvalidation.objects.count() == 0


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: POSTS.all()[:1].update(title="x"), TypeError),
        (lambda: POSTS.all().union(POSTS.all()).update(title="x"), Exception),
        (lambda: POSTS.update(nothing="x"), FieldDoesNotExist),
        (lambda: POSTS.update(comments="x"), AttributeError),
        (lambda: POSTS.update(title=F("author__username")), FieldError),
        (lambda: POSTS.update(views=Count("comments")), FieldError),
        (lambda: POSTS.update(author="not a number"), ValueError),
        (lambda: POSTS.update(title=None), IntegrityError),
    ],
)
def test_update__raises_what_django_raises(make_post: Any, call: Any, error: Any) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}", "popular_posts")
    with pytest.raises(error):
        call()
    assert gone(*keys) == set()


def test_update__in_a_transaction_waits_for_the_commit(make_post: Any) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}")
    with transaction.atomic():
        POSTS.update(title="New")
        assert gone(*keys) == set()
    assert gone(*keys) == set(keys)


def test_update__rolled_back_changes_nothing(make_post: Any) -> None:
    post = make_post(title="old")
    keys = cached(f"post:{post.pk}", "popular_posts")
    with pytest.raises(Rollback), transaction.atomic():
        POSTS.update(title="New")
        raise Rollback
    with transaction.atomic():
        with pytest.raises(Rollback), transaction.atomic():
            POSTS.update(title="New")
            raise Rollback
        Group.objects.create(name="kept")
    assert Post.objects.get().title == "old"
    assert gone(*keys) == set()


def test_update__leaves_the_transaction_mode_as_it_was() -> None:
    before = getattr(connection, "transaction_mode", None)
    POSTS.update(title="New")
    assert getattr(connection, "transaction_mode", None) == before
    assert connection.get_autocommit()
