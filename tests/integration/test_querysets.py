"""Bulk methods that invalidate what they touch: which ids, at which cost, and as Django's in all else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.models import Case, Count, F, IntegerField, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.test.utils import CaptureQueriesContext

from myapp.models import Comment, Post
from users.models import CustomUser
from warmer import querysets, warm_many
from warmer.models import PendingInvalidation
from warmer.querysets import WarmingManager, WarmingQuerySet, WarmingQuerySetMixin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

POSTS: Any = WarmingQuerySet(Post)
COMMENTS: Any = WarmingQuerySet(Comment)


class Rollback(Exception):
    """Rolls a transaction back."""


def gone(*keys: str) -> set[str]:
    return set(keys) - set(cache.get_many(keys))


@pytest.fixture
def cached() -> Callable[..., list[str]]:
    """Return a function that puts values into the cache, and returns their keys."""

    def put(*keys: str) -> list[str]:
        cache.set_many(dict.fromkeys(keys, "cached"))
        return list(keys)

    return put


@pytest.fixture
def one_outbox(settings: Any) -> None:
    """Count queries without those of the outbox."""
    settings.WARMER_DURABLE_INVALIDATION = False


def job(key: str, depends_on: Any) -> Any:
    return warm_many(key, ids=list, name=key.replace(":", ".").replace("{id}", "x"), depends_on=depends_on)(
        dict
    )


@pytest.fixture
def by_author() -> Any:
    """A job whose keys are authors' ids, which a post can move between."""
    return job("author:{id}:posts", {Post: "author_id"})


@pytest.fixture
def shop() -> Iterator[Any]:
    """Models with `WarmingManager` and tables of their own."""

    class Shelf(models.Model):
        name = models.CharField(max_length=20)

        class Meta:
            app_label = "myapp"

    class Tag(models.Model):
        class Meta:
            app_label = "myapp"

    class Book(models.Model):
        shelf = models.ForeignKey(Shelf, on_delete=models.SET_NULL, null=True, related_name="books")
        code = models.CharField(max_length=20, unique=True)
        title = models.CharField(max_length=20, default="")
        rank = models.IntegerField(default=0)
        tags = models.ManyToManyField(Tag)

        objects = WarmingManager()

        class Meta:
            app_label = "myapp"
            base_manager_name = "objects"

    class Novel(Book):
        author = models.CharField(max_length=20, default="")

        objects = WarmingManager()

        class Meta:
            app_label = "myapp"

    class Lent(models.Model):
        shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)
        place = models.IntegerField()
        reader = models.IntegerField(null=True)

        objects = WarmingManager()

        class Meta:
            app_label = "myapp"
            unique_together = [("shelf", "place")]

    class OldBook(Book):
        class Meta:
            app_label = "myapp"
            proxy = True

    tables = [Shelf, Tag, Book, Novel, Lent]
    with connection.schema_editor() as editor:
        for model in tables:
            editor.create_model(model)
    try:
        yield SimpleNamespace(Shelf=Shelf, Tag=Tag, Book=Book, Novel=Novel, Lent=Lent, OldBook=OldBook)
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(tables):
                editor.delete_model(model)
        for name in ("shelf", "tag", "book", "novel", "lent", "oldbook", "book_tags"):
            del apps.all_models["myapp"][name]
        apps.clear_cache()


# -- update ----------------------------------------------------------------------------------


def test_update__invalidates_the_rows_that_it_touches_and_no_others(make_post: Any, cached: Any) -> None:
    touched, other = make_post(slug="touched"), make_post()
    keys = cached(f"post:{touched.pk}", "popular_posts", f"post:{other.pk}")
    assert POSTS.filter(slug="touched").update(title="New") == 1
    assert gone(*keys) == set(keys[:2])
    assert Post.objects.get(pk=touched.pk).title == "New"


def test_update__moves_out_of_its_own_condition(make_post: Any, cached: Any) -> None:
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
    make_post: Any, make_comment: Any, cached: Any, assigned: Any
) -> None:
    old, new, other = make_post(), make_post(), make_post()
    make_comment(post=old, body="moves")
    keys = cached(*(f"post:{post.pk}" for post in (old, new, other)))
    assert COMMENTS.filter(body="moves").update(**assigned(old, new)) == 1
    assert Comment.objects.get(body="moves").post_id == new.pk
    assert gone(*keys) == set(keys[:2])


def test_update__value_that_cannot_be_told_costs_the_whole_job(
    make_post: Any, make_comment: Any, cached: Any
) -> None:
    old, new, other = make_post(), make_post(slug="new"), make_post()
    comment = make_comment(post=old)
    keys = cached(*(f"post:{post.pk}" for post in (old, new, other)))
    COMMENTS.filter(pk=comment.pk).update(post_id=Subquery(Post.objects.filter(slug="new").values("pk")))
    assert Comment.objects.get().post_id == new.pk
    assert gone(*keys) == set(keys)


def test_update__expression_over_an_annotation_costs_the_whole_job(
    make_post: Any, make_comment: Any, cached: Any
) -> None:
    old, new = make_post(), make_post()
    make_comment(post=old)
    keys = cached(f"post:{old.pk}", f"post:{new.pk}")
    COMMENTS.annotate(where=F("post_id") + (new.pk - old.pk)).update(post_id=F("where"))
    assert gone(*keys) == set(keys)


def test_update__null_is_no_id(shop: Any, cached: Any) -> None:
    job("shelf:{id}", {shop.Book: "shelf"})
    old, new = shop.Shelf.objects.create(), shop.Shelf.objects.create()
    shop.Book.objects.bulk_create([shop.Book(code="a", shelf=old), shop.Book(code="b")])
    keys = cached(f"shelf:{old.pk}", f"shelf:{new.pk}", "shelf:None")
    shop.Book.objects.filter(code="a").update(shelf=None)
    assert gone(*keys) == {keys[0]}
    shop.Book.objects.update(shelf=new)
    assert gone(*keys) == set(keys[:2])


def test_update__function_of_the_instance_sees_it_before_and_after(make_post: Any, cached: Any) -> None:
    job("slug:{id}", {Post: lambda post: [post.slug, f"{post.slug}-{post.views}"]})
    make_post(slug="old", views=1)
    make_post(slug="other", views=1)
    keys = cached("slug:old", "slug:old-1", "slug:new", "slug:new-3", "slug:other", "slug:other-1")
    POSTS.filter(slug="old").update(slug="new", views=F("views") + 2)
    assert gone(*keys) == set(keys[:4])


def test_update__function_that_fails_costs_the_job_and_not_the_update(make_post: Any, cached: Any) -> None:
    def ids(post: Post) -> Any:
        raise ValueError("no ids")

    job("f:{id}", {Post: ids})
    make_post()
    keys = cached("f:1", "f:2")
    assert POSTS.update(title="New") == 1
    assert gone(*keys) == set(keys)


def test_update__path_over_a_relation(make_post: Any, make_comment: Any, cached: Any) -> None:
    job("a:{id}", {Comment: "post__author_id"})
    mine, other = make_post(), make_post()
    comment = make_comment(post=mine)
    keys = cached(f"a:{mine.author_id}", f"a:{other.author_id}")
    COMMENTS.filter(pk=comment.pk).update(body="New")
    assert gone(*keys) == {keys[0]}
    cached(*keys)
    COMMENTS.filter(pk=comment.pk).update(post=other)
    assert gone(*keys) == set(keys)


def test_update__path_over_many_to_many(shop: Any, cached: Any) -> None:
    job("tag:{id}", {shop.Book: "tags"})
    tags = [shop.Tag.objects.create() for _ in range(3)]
    book = shop.Book.objects.create(code="a")
    book.tags.set(tags[:2])
    keys = cached(*(f"tag:{tag.pk}" for tag in tags))
    assert shop.Book.objects.filter(code="a").update(title="New") == 1
    assert gone(*keys) == set(keys[:2])


def test_update__job_of_whole_models_needs_no_look(
    cached: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
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
    cached: Any,
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
    make_post: Any, cached: Any, one_outbox: None, django_assert_num_queries: Any
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
    make_post: Any, cached: Any, one_outbox: None, django_assert_num_queries: Any
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
    make_post: Any, cached: Any, monkeypatch: pytest.MonkeyPatch
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
def test_update__raises_what_django_raises(make_post: Any, cached: Any, call: Any, error: Any) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}", "popular_posts")
    with pytest.raises(error):
        call()
    assert gone(*keys) == set()


def test_update__in_a_transaction_waits_for_the_commit(make_post: Any, cached: Any) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}")
    with transaction.atomic():
        POSTS.update(title="New")
        assert gone(*keys) == set()
    assert gone(*keys) == set(keys)


def test_update__rolled_back_changes_nothing(make_post: Any, cached: Any) -> None:
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


# -- bulk_create -----------------------------------------------------------------------------


def new_post(author: Any, slug: str, **fields: Any) -> Post:
    return Post(author=author, slug=slug, title="t", body="b", **fields)


def test_bulk_create__invalidates_the_ids_of_new_rows(
    make_user: Any, cached: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    author, other = make_user(), make_user()
    keys = cached(f"author:{author.pk}:posts", "popular_posts", f"author:{other.pk}:posts")
    with transaction.atomic(), django_assert_num_queries(1):
        made = POSTS.bulk_create([new_post(author, "a"), new_post(author, "b")])
    assert [post.slug for post in made] == ["a", "b"]
    assert all(post.pk for post in made)
    assert gone(*keys) == set(keys[:2])


def test_bulk_create__invalidates_the_primary_keys_of_new_rows(make_user: Any, cached: Any) -> None:
    """A loader may have had a value for an id that had no row."""
    last = POSTS.bulk_create([new_post(make_user(), "a")])[0].pk
    keys = cached(f"post:{last + 1}", f"post:{last + 2}")
    POSTS.bulk_create([new_post(make_user(), "b")])
    assert gone(*keys) == {keys[0]}


def test_bulk_create__path_over_a_relation_is_one_query(
    make_post: Any, cached: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    job("a:{id}", {Comment: "post__author_id"})
    job("l:{id}", {Comment: "post__author__location"})
    post = make_post()
    keys = cached(f"a:{post.author_id}", "a:0")
    with transaction.atomic(), django_assert_num_queries(2):
        COMMENTS.bulk_create([Comment(post=post, author=post.author, body="x")])
    assert gone(*keys) == {keys[0]}


def test_bulk_create__function_of_the_instance(make_user: Any, cached: Any) -> None:
    job("slug:{id}", {Post: lambda post: f"{post.slug}-{post.pk is not None}"})
    keys = cached("slug:a-True", "slug:b-True")
    POSTS.bulk_create([new_post(make_user(), "a")])
    assert gone(*keys) == {keys[0]}


def test_bulk_create__where_new_keys_are_unknown_asks_for_the_rows(
    make_user: Any, cached: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a MySQL, which returns none."""
    last = POSTS.bulk_create([new_post(make_user(), "a")])[0].pk
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    keys = cached(f"post:{last}", f"post:{last + 1}")
    made = POSTS.bulk_create([new_post(make_user(), "b")])
    assert made[0].pk is None
    assert gone(*keys) == {keys[1]}


def test_bulk_create__where_rows_cannot_be_told_all_keys_go(
    make_post: Any, cached: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job("comment:{id}", {Comment: "pk"})
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    post = make_post()
    keys = cached("comment:1", "comment:2")
    COMMENTS.bulk_create([Comment(post=post, author=post.author, body="x")])
    assert gone(*keys) == set(keys)


def test_bulk_create__ignored_conflicts(
    make_user: Any, cached: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    """Django gives no keys here: the new rows are found again by their unique column."""
    author, other = make_user(), make_user()
    there = POSTS.bulk_create([new_post(other, "there")])[0]
    keys = cached(f"post:{there.pk + 1}", f"post:{there.pk + 2}", f"author:{author.pk}:posts")
    with transaction.atomic(), django_assert_num_queries(2):
        POSTS.bulk_create([new_post(author, "there"), new_post(author, "new")], ignore_conflicts=True)
    new = Post.objects.get(slug="new")
    assert Post.objects.get(slug="there").author == other
    assert gone(f"post:{new.pk}", keys[2]) == {f"post:{new.pk}", keys[2]}


def test_bulk_create__ignored_conflicts_of_local_ids_need_no_query(
    make_post: Any, cached: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}", "post:0")
    with transaction.atomic(), django_assert_num_queries(1):
        COMMENTS.bulk_create([Comment(post=post, author=post.author, body="x")], ignore_conflicts=True)
    assert gone(*keys) == {keys[0]}


def test_bulk_create__updated_conflict_that_keeps_its_id(
    make_user: Any, cached: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
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
    make_user: Any, cached: Any, by_author: Any, one_outbox: None, django_assert_num_queries: Any
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


def test_bulk_create__updated_conflicts_that_move_beside_new_rows(
    make_user: Any, cached: Any, by_author: Any
) -> None:
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


def test_bulk_create__updated_conflict_of_a_function(make_user: Any, cached: Any) -> None:
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


def test_bulk_create__updated_conflict_with_a_key_that_is_another_row(make_user: Any, cached: Any) -> None:
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


def test_bulk_create__updated_conflict_on_two_columns(shop: Any, cached: Any) -> None:
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
def test_bulk_create__raises_what_django_raises(
    make_user: Any, cached: Any, options: Any, error: Any
) -> None:
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
def test_bulk_create__of_nothing_is_nothing(
    cached: Any, django_assert_num_queries: Any, nothing: Any
) -> None:
    keys = cached("popular_posts")
    with django_assert_num_queries(0):
        assert POSTS.bulk_create(nothing) is nothing
    assert gone(*keys) == set()


def test_bulk_create__rolled_back_changes_nothing(make_user: Any, cached: Any) -> None:
    keys = cached("popular_posts")
    with pytest.raises(Rollback), transaction.atomic():
        POSTS.bulk_create([new_post(make_user(), "a")])
        raise Rollback
    assert gone(*keys) == set()


# -- bulk_update -----------------------------------------------------------------------------


def test_bulk_update__moved_rows_invalidate_the_old_and_the_new_ids(
    make_post: Any, make_comment: Any, cached: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    a, b, c, d, other = (make_post() for _ in range(5))
    first, second = make_comment(post=a), make_comment(post=b)
    first.post, second.post = c, d
    keys = cached(*(f"post:{post.pk}" for post in (a, b, c, d, other)))
    with transaction.atomic(), django_assert_num_queries(2):
        assert COMMENTS.bulk_update([first, second], ["post"]) == 2
    assert gone(*keys) == set(keys[:4])


def test_bulk_update__instance_older_than_its_row(make_post: Any, make_comment: Any, cached: Any) -> None:
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
    make_user: Any, cached: Any, one_outbox: None, django_assert_num_queries: Any
) -> None:
    users = [make_user() for _ in range(3)]
    keys = cached(*(f"user:{user.pk}:profile" for user in users))
    with transaction.atomic(), django_assert_num_queries(1):
        assert WarmingQuerySet(CustomUser).bulk_update(users[:2], ["location"]) == 2
    assert gone(*keys) == set(keys[:2])


def test_bulk_update__computed_values(make_post: Any, make_comment: Any, cached: Any) -> None:
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


def test_bulk_update__function_of_the_instance(make_post: Any, cached: Any) -> None:
    job("t:{id}", {Post: lambda post: f"{post.title}-{post.views}"})
    post = make_post(title="old", views=1)
    Post.objects.update(views=2)
    post.title = "new"
    keys = cached("t:old-2", "t:new-2", "t:new-1")
    POSTS.bulk_update([post], ["title"])
    assert gone(*keys) == set(keys[:2])


def test_bulk_update__in_batches_is_one_look(
    make_post: Any, make_comment: Any, cached: Any, one_outbox: None, django_assert_num_queries: Any
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
    make_post: Any, by_author: Any, cached: Any, call: Any, error: Any
) -> None:
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}")
    with pytest.raises(error):
        call(post)
    assert gone(*keys) == set()


def test_bulk_update__of_nothing_is_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert POSTS.bulk_update([], ["title"]) == 0


# -- delete ----------------------------------------------------------------------------------


def test_delete__invalidates_rows_and_what_goes_with_them(
    make_post: Any, make_comment: Any, make_user: Any, cached: Any
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
    make_post: Any, make_comment: Any, cached: Any, one_outbox: None, condition: Any
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


def test_delete__rolled_back_changes_nothing(make_post: Any, cached: Any) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}")
    with pytest.raises(Rollback), transaction.atomic():
        POSTS.all().delete()
        raise Rollback
    assert gone(*keys) == set()
    assert not PendingInvalidation.objects.exists()


def test_delete__that_fails_keeps_nothing_in_the_outbox(make_post: Any, make_user: Any, cached: Any) -> None:
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


def test_raw_delete__invalidates_too(make_post: Any, make_comment: Any, cached: Any) -> None:
    post, other = make_post(), make_post()
    comment = make_comment(post=post)
    make_comment(post=other)
    keys = cached(f"post:{post.pk}", f"post:{other.pk}")
    assert COMMENTS.filter(pk=comment.pk)._raw_delete("default") == 1
    assert gone(*keys) == {keys[0]}
    cached(*keys)
    assert COMMENTS.filter(post__title=other.title)._raw_delete(using="default") == 1
    assert gone(*keys) == {keys[1]}


# -- what goes through them ------------------------------------------------------------------


def test_async__forms_invalidate(make_post: Any, cached: Any) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}", "popular_posts")

    async def in_turn() -> None:
        await POSTS.aupdate(title="New")
        assert gone(*keys) == set(keys)
        cached(*keys)
        post.title = "Newer"
        await POSTS.abulk_update([post], ["title"])
        assert gone(*keys) == set(keys)
        cached(*keys)
        await POSTS.abulk_create([new_post(post.author, "a")])
        assert gone(*keys) == {"popular_posts"}
        cached(*keys)
        await POSTS.adelete()
        assert gone(*keys) == set(keys)

    async_to_sync(in_turn)()


def test_get_or_create__and_update_or_create_invalidate(make_user: Any, cached: Any, by_author: Any) -> None:
    author = make_user()
    keys = cached(f"author:{author.pk}:posts")
    defaults = {"author": author, "title": "t", "body": "b"}
    POSTS.get_or_create(slug="a", defaults=defaults)
    assert gone(*keys) == set(keys)
    cached(*keys)
    POSTS.get_or_create(slug="a", defaults=defaults)
    assert gone(*keys) == set()
    POSTS.update_or_create(slug="a", defaults=defaults)
    assert gone(*keys) == set(keys)


def test_model_without_a_job__is_left_alone(django_assert_num_queries: Any) -> None:
    groups: Any = WarmingQuerySet(Group)
    with transaction.atomic():
        with django_assert_num_queries(1):
            groups.bulk_create([Group(name="a"), Group(name="b")])
        with django_assert_num_queries(1):
            assert groups.update(name=F("name")) == 2
        with django_assert_num_queries(2):
            assert groups.bulk_update(Group.objects.all(), ["name"]) == 2


def test_related_managers__invalidate(shop: Any, cached: Any) -> None:
    job("shelf:{id}", {shop.Book: "shelf_id"})
    a, b = shop.Shelf.objects.create(), shop.Shelf.objects.create()
    book = shop.Book.objects.create(code="a", shelf=a)
    keys = cached(f"shelf:{a.pk}", f"shelf:{b.pk}")
    b.books.add(book)
    assert gone(*keys) == set(keys)
    cached(*keys)
    b.books.remove(shop.Book.objects.get())
    assert gone(*keys) == {keys[1]}
    cached(*keys)
    a.books.set([shop.Book.objects.get()])
    assert gone(*keys) == {keys[0]}
    cached(*keys)
    a.books.clear()
    assert gone(*keys) == {keys[0]}
    cached(*keys)
    a.books.bulk_create([shop.Book(code="b", shelf=a)])
    assert gone(*keys) == {keys[0]}
    cached(*keys)
    a.books.update(title="New")
    assert gone(*keys) == {keys[0]}


def test_set_null__of_a_deleted_row_invalidates(shop: Any, cached: Any) -> None:
    job("shelf:{id}", {shop.Book: "shelf_id"})
    a, b = shop.Shelf.objects.create(), shop.Shelf.objects.create()
    shop.Book.objects.create(code="a", shelf=a)
    keys = cached(f"shelf:{a.pk}", f"shelf:{b.pk}")
    a.delete()
    assert shop.Book.objects.get().shelf_id is None
    assert gone(*keys) == {keys[0]}


def test_inherited_model__columns_of_both_tables(shop: Any, cached: Any) -> None:
    job("shelf:{id}", {shop.Book: "shelf_id"})
    job("novel:{id}", {shop.Novel: "author"})
    job("code:{id}", {shop.Novel: lambda novel: f"{novel.code}-{novel.rank}"})
    a, b = shop.Shelf.objects.create(), shop.Shelf.objects.create()
    shop.Novel.objects.create(code="n", shelf=a, author="ann")
    shop.Novel.objects.create(code="m", author="bob")
    keys = cached(f"shelf:{a.pk}", f"shelf:{b.pk}", "novel:ann", "novel:eve", "novel:bob", "code:n-0")
    assert shop.Novel.objects.filter(code="n").update(shelf=b, author="eve") == 1
    assert gone(*keys) == {*keys[:4], keys[5]}
    cached(*keys)
    assert shop.Novel.objects.filter(author="eve").update(rank=F("rank") + 1) == 1
    assert gone(*keys) == {*keys[1:2], keys[3], keys[5]}
    cached(*keys)
    novel = shop.Novel.objects.get(code="n")
    novel.shelf = a
    shop.Novel.objects.bulk_update([novel], ["shelf"])
    assert gone(*keys) == {*keys[:2], keys[3]}
    cached(*keys)
    assert shop.Novel.objects.filter(author="eve").delete()[0] == 2
    assert gone(*keys) == {keys[0], keys[3]}


def test_proxy__is_its_model(shop: Any, cached: Any) -> None:
    job("shelf:{id}", {shop.Book: "shelf_id"})
    job("old:{id}", {shop.OldBook: "code"})
    a, b = shop.Shelf.objects.create(), shop.Shelf.objects.create()
    old: Any = WarmingQuerySet(shop.OldBook)
    old.bulk_create([shop.OldBook(code="x", shelf=a)])
    keys = cached(f"shelf:{a.pk}", f"shelf:{b.pk}", "old:x", "old:y")
    old.update(shelf=b)
    assert gone(*keys) == set(keys[:3])
    cached(*keys)
    shop.Book.objects.update(code="y")
    assert gone(*keys) == set(keys[1:])
    cached(*keys)
    old.all().delete()
    assert gone(*keys) == {keys[1], keys[3]}


def test_mixin__before_a_queryset_of_the_project(make_post: Any, cached: Any) -> None:
    class Counting(models.QuerySet[Post]):
        updates = 0

        def update(self, **kwargs: Any) -> int:
            type(self).updates += 1
            return super().update(**kwargs)

    class Mixed(WarmingQuerySetMixin, Counting):
        pass

    post = make_post()
    keys = cached(f"post:{post.pk}")
    assert Mixed(Post).filter(author__is_active=True).update(title="New") == 1
    assert Mixed.updates == 1
    assert gone(*keys) == set(keys)


def test_manager__has_the_methods_and_their_marks() -> None:
    manager = WarmingManager()
    for name in ("update", "bulk_create", "bulk_update", "delete", "_raw_delete"):
        assert getattr(WarmingQuerySet, name).alters_data
    assert not hasattr(manager, "delete")
    assert not hasattr(manager, "_raw_delete")
    assert isinstance(WarmingQuerySet.as_manager().get_queryset.__self__, models.Manager)


# -- others at the same time -----------------------------------------------------------------


@pytest.fixture
def after_the_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[Thread]]:
    """Return a function that has another thread do something between a look and its change."""

    def let(action: Callable[[], object]) -> list[Thread]:
        threads: list[Thread] = []

        def run() -> None:
            try:
                action()
            finally:
                connection.close()

        def look_then_let(*args: Any, **options: Any) -> Any:
            seen = look(*args, **options)
            if not threads:
                threads.append(Thread(target=run))
                threads[0].start()
                # PostgreSQL lets it commit; on SQLite it waits for our commit.
                threads[0].join(2 if connection.vendor == "postgresql" else 0.3)
            return seen

        look = querysets.look
        monkeypatch.setattr(querysets, "look", look_then_let)
        return threads

    return let


@pytest.mark.parametrize("condition", ["plain", "narrowed"])
def test_race__row_that_comes_to_match_is_not_changed_unnoticed(
    make_post: Any, make_user: Any, cached: Any, after_the_look: Any, condition: str
) -> None:
    author = make_user()
    make_post(author=author, title="old")
    late = make_post(author=author, title="later")
    keys = cached(f"post:{late.pk}")
    threads = after_the_look(lambda: (Post.objects.filter(pk=late.pk).update(title="old"), cached(*keys)))
    rows = POSTS.filter(title="old")
    if condition == "narrowed":
        rows = rows.filter(author__is_active=True)
    rows.update(views=7)
    threads[0].join()
    late.refresh_from_db()
    assert late.title == "old"
    assert late.views == 0 or gone(*keys) == set(keys)


def test_race__row_that_is_moved_while_we_wait_for_it(make_post: Any, make_comment: Any, cached: Any) -> None:
    """It is at A when our update begins, and at B when it gets hold of it."""
    a, b = make_post(), make_post()
    comment = make_comment(post=a)
    keys = cached(f"post:{b.pk}")
    updated: list[int] = []

    def update() -> None:
        try:
            updated.append(COMMENTS.filter(pk=comment.pk).update(body="New"))
        finally:
            connection.close()

    thread = Thread(target=update)
    with transaction.atomic():
        Comment.objects.filter(pk=comment.pk).update(post=b)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join()
    assert updated == [1]
    assert gone(*keys) == set(keys)


def test_race__row_that_we_have_looked_at_waits(
    make_post: Any, make_comment: Any, cached: Any, after_the_look: Any
) -> None:
    a, b = make_post(), make_post()
    comment = make_comment(post=a)
    keys = cached(f"post:{a.pk}")
    moved: list[Any] = []

    def move() -> None:
        Comment.objects.filter(pk=comment.pk).update(post=b)
        moved.append(gone(*keys))

    threads = after_the_look(move)
    with transaction.atomic():
        COMMENTS.filter(post__isnull=False, pk=comment.pk).update(body="New")
        assert not moved
    threads[0].join()
    assert moved
    assert gone(*keys) == set(keys)


def test_race__others_write_between_look_and_change_does_not_fail_us(
    make_post: Any, after_the_look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would say that the database is locked, had the transaction begun with a read."""
    post, other = make_post(), make_post()
    if connection.vendor == "sqlite":
        monkeypatch.setattr(connections["default"], "transaction_mode", None)
    threads = after_the_look(lambda: Post.objects.filter(pk=other.pk).update(title="Theirs"))
    assert POSTS.filter(pk=post.pk).update(title="Ours") == 1
    threads[0].join()
    assert set(Post.objects.values_list("title", flat=True)) == {"Ours", "Theirs"}
