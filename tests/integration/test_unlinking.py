"""Rows that a delete elsewhere changes without a signal."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import connection, models, transaction
from django.db.models import QuerySet
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext

from tests.integration.keyed import cached, gone, job
from users.models import CustomUser
from warmer.querysets import WarmingQuerySet
from warmer.testing import no_bypass

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def shop() -> Iterator[Any]:
    """Models whose foreign keys are set to something else, with tables of their own."""

    class Shelf(models.Model):
        name = models.CharField(max_length=20)

        class Meta:
            app_label = "myapp"

    class OldShelf(Shelf):
        class Meta:
            app_label = "myapp"
            proxy = True

    class Book(models.Model):
        nulled = models.ForeignKey(Shelf, on_delete=models.SET_NULL, null=True, related_name="+")
        reset = models.ForeignKey(Shelf, on_delete=models.SET_DEFAULT, null=True, default=1, related_name="+")
        replaced = models.ForeignKey(
            Shelf, on_delete=models.SET(lambda: Shelf.objects.first().pk), null=True, related_name="+"
        )

        class Meta:
            app_label = "myapp"

    tables = [Shelf, Book]
    with connection.schema_editor() as editor:
        for model in tables:
            editor.create_model(model)
    try:
        yield SimpleNamespace(Shelf=Shelf, OldShelf=OldShelf, Book=Book)
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(tables):
                editor.delete_model(model)
        for name in ("shelf", "oldshelf", "book"):
            del apps.all_models["myapp"][name]
        apps.clear_cache()


@pytest.fixture
def groups_of_users() -> Any:
    return job("groups:{id}", {CustomUser.groups.through: "customuser_id"})


@pytest.mark.parametrize("way", ["instance", "queryset", "warming queryset"])
def test_many_to_many__goes_with_either_end(make_user: Any, groups_of_users: Any, way: str) -> None:
    user, other = make_user(), make_user()
    groups = [Group.objects.create(name=name) for name in "ab"]
    user.groups.set(groups)
    other.groups.set(groups[:1])
    keys = cached(f"groups:{user.pk}", f"groups:{other.pk}", "groups:0")
    with no_bypass():
        match way:
            case "instance":
                groups[0].delete()
            case "queryset":
                Group.objects.filter(name="a").delete()
            case "warming queryset":
                WarmingQuerySet(Group).filter(name="a").delete()
    assert gone(*keys) == set(keys[:2])
    cached(*keys)
    with no_bypass():
        user.delete()
    assert gone(*keys) == {keys[0]}


def test_many_to_many__queryset_asks_once_for_all_rows(
    make_user: Any, groups_of_users: Any, settings: Any
) -> None:
    settings.WARMER_DURABLE_INVALIDATION = False
    user = make_user()

    def ask(count: int) -> int:
        made = [Group.objects.create(name=f"{count} {number}") for number in range(count)]
        user.groups.set(made)
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            Group.objects.all().delete()
        return len(queries)

    assert ask(2) == ask(5)


def test_queryset__that_is_deleted_twice_asks_each_time(make_user: Any, groups_of_users: Any) -> None:
    user = make_user()
    rows = Group.objects.filter(name="a")
    for _ in range(2):
        user.groups.add(Group.objects.create(name="a"))
        keys = cached(f"groups:{user.pk}")
        rows.delete()
        assert gone(*keys) == set(keys)


@pytest.mark.parametrize("column", ["nulled", "reset", "replaced"])
@pytest.mark.parametrize("way", ["instance", "queryset", "proxy"])
def test_on_delete__that_sets_something_else(shop: Any, column: str, way: str) -> None:
    job("book:{id}", {shop.Book: "id"})
    job("shelf:{id}", {shop.Book: column})
    first = shop.Shelf.objects.create(pk=1)
    old, other = shop.Shelf.objects.create(pk=2), shop.Shelf.objects.create(pk=3)
    book = shop.Book.objects.create(**{"reset": None, column: old})
    untouched = shop.Book.objects.create(**{"reset": None, column: other})
    keys = cached(f"book:{book.pk}", "shelf:2", "shelf:1", f"book:{untouched.pk}", "shelf:3")
    with no_bypass():
        match way:
            case "instance":
                old.delete()
            case "queryset":
                shop.Shelf.objects.filter(pk=old.pk).delete()
            case "proxy":
                shop.OldShelf.objects.filter(pk=old.pk).delete()
    book.refresh_from_db()
    assert getattr(book, f"{column}_id") == (None if column == "nulled" else first.pk)
    expected = {"nulled": keys[:2], "reset": keys[:3], "replaced": [*keys[:3], keys[4]]}
    assert gone(*keys) == set(expected[column])


def test_on_delete__of_what_no_row_refers_to_invalidates_nothing(shop: Any) -> None:
    job("all:{id}", [shop.Book])
    shelf = shop.Shelf.objects.create()
    shop.Book.objects.create(reset=None)
    keys = cached("all:1")
    shelf.delete()
    assert gone(*keys) == set()


def test_on_delete__rolled_back_changes_nothing(shop: Any) -> None:
    job("shelf:{id}", {shop.Book: "nulled"})
    shelf = shop.Shelf.objects.create()
    shop.Book.objects.create(nulled=shelf, reset=None)
    keys = cached(f"shelf:{shelf.pk}")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        shelf.delete()
        raise ZeroDivisionError
    assert gone(*keys) == set()


def test_delete__of_rows_that_the_queryset_no_longer_meets(shop: Any) -> None:
    """What is changed between Django's read of the rows and ours is deleted all the same.

    Here a receiver of the project changes a row, on PostgreSQL another transaction may as well.
    """
    job("book:{id}", {shop.Book: "id"})
    shelves = [shop.Shelf.objects.create(name="old") for _ in range(2)]
    books = [shop.Book.objects.create(nulled=shelf, reset=None) for shelf in shelves]
    keys = cached(*(f"book:{book.pk}" for book in books))

    def meanwhile(instance: Any, **_: Any) -> None:
        if instance.pk == shelves[0].pk:
            QuerySet(shop.Shelf).filter(pk=shelves[1].pk).update(name="new")

    receivers = pre_delete.receivers
    pre_delete.connect(meanwhile, sender=shop.Shelf)
    pre_delete.receivers = [receivers[-1], *receivers[:-1]]
    pre_delete.sender_receivers_cache.clear()
    try:
        shop.Shelf.objects.filter(name="old").delete()
    finally:
        pre_delete.disconnect(meanwhile, sender=shop.Shelf)
    assert set(shop.Book.objects.values_list("nulled", flat=True)) == {None}
    assert gone(*keys) == set(keys)
