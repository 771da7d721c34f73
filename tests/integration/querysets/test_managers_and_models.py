"""What goes through the bulk methods: async forms, related managers, inherited models, mixins."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models import F

from myapp.models import Post
from tests.integration.keyed import cached, gone, job
from tests.integration.querysets.bulk import POSTS, new_post
from warmer.querysets import WarmingManager, WarmingQuerySet, WarmingQuerySetMixin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_async__forms_invalidate(make_post: Any) -> None:
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


def test_get_or_create__and_update_or_create_invalidate(make_user: Any, by_author: Any) -> None:
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


def test_related_managers__invalidate(shop: Any) -> None:
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


def test_set_null__of_a_deleted_row_invalidates(shop: Any) -> None:
    job("shelf:{id}", {shop.Book: "shelf_id"})
    a, b = shop.Shelf.objects.create(), shop.Shelf.objects.create()
    shop.Book.objects.create(code="a", shelf=a)
    keys = cached(f"shelf:{a.pk}", f"shelf:{b.pk}")
    a.delete()
    assert shop.Book.objects.get().shelf_id is None
    assert gone(*keys) == {keys[0]}


def test_inherited_model__columns_of_both_tables(shop: Any) -> None:
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


def test_proxy__is_its_model(shop: Any) -> None:
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


def test_mixin__before_a_queryset_of_the_project(make_post: Any) -> None:
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
