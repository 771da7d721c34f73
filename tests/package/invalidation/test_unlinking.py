"""Rows that a delete elsewhere changes without a signal."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import models

from tests.support.keyed import cached, gone, job
from tests.support.tables import tables_of
from users.models import CustomUser
from warmer.invalidation import captures_by_triggers

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

    with tables_of(Shelf, OldShelf, Book):
        yield SimpleNamespace(Shelf=Shelf, OldShelf=OldShelf, Book=Book)


@pytest.fixture
def groups_of_users() -> Any:
    return job("groups:{id}", {CustomUser.groups.through: "customuser_id"})


@pytest.mark.parametrize("way", ["instance", "queryset"])
def test_many_to_many__goes_with_either_end(make_user: Any, groups_of_users: Any, way: str) -> None:
    user, other = make_user(), make_user()
    groups = [Group.objects.create(name=name) for name in "ab"]
    user.groups.set(groups)
    other.groups.set(groups[:1])
    keys = cached(f"groups:{user.pk}", f"groups:{other.pk}", "groups:0")
    if way == "instance":
        groups[0].delete()
    else:
        Group.objects.filter(name="a").delete()
    assert gone(*keys) == set(keys[:2])
    cached(*keys)
    if way == "instance":
        user.delete()
    else:
        CustomUser.objects.filter(pk=user.pk).delete()
    assert gone(*keys) == {keys[0]}


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
    match way:
        case "instance":
            old.delete()
        case "queryset":
            shop.Shelf.objects.filter(pk=old.pk).delete()
        case "proxy":
            shop.OldShelf.objects.filter(pk=old.pk).delete()
    book.refresh_from_db()
    assert getattr(book, f"{column}_id") == (None if column == "nulled" else first.pk)
    expected = keys[:2] if column == "nulled" else keys[:3]
    assert gone(*keys) == set(expected if captures_by_triggers() else ())
