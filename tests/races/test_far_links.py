"""Rows that come, go or change with others, whose ids another transaction moves while ours is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import QuerySet

from tests.integration.tables import tables_of
from tests.races.conftest import while_ours_is_open
from users.models import CustomUser
from warmer import invalidate_for, warm_many
from warmer.querysets import WarmingQuerySet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

Through: Any = CustomUser.groups.through


@pytest.fixture
def members() -> Any:
    """A job of groups' names: whose they are."""

    def load(names: Any) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {name: [] for name in names}
        rows = Through.objects.filter(group__name__in=names).order_by("customuser_id")
        for name, user in rows.values_list("group__name", "customuser_id"):
            found[name].append(user)
        return found

    depends_on = {Through: "group__name", Group: "name"}
    return warm_many("members:{id}", ids=list, name="members", depends_on=depends_on)(load)


LINKS: dict[str, Callable[[Any, Any, Any], object]] = {
    "add": lambda user, group, other: other.groups.add(group),
    "reverse add": lambda user, group, other: group.user_set.add(other),
    "remove": lambda user, group, other: user.groups.remove(group),
    "reverse remove": lambda user, group, other: group.user_set.remove(user),
    "clear": lambda user, group, other: user.groups.clear(),
    "reverse clear": lambda user, group, other: group.user_set.clear(),
    "set": lambda user, group, other: group.user_set.set([other]),
    "deleted end": lambda user, group, other: user.delete(),
    "deleted ends": lambda user, group, other: CustomUser.objects.filter(pk=user.pk).delete(),
}


@pytest.mark.parametrize("change", LINKS.values(), ids=LINKS)
def test_link__its_end_is_moved_by_another(
    make_user: Any, members: Any, change: Callable[[Any, Any, Any], object]
) -> None:
    user, other, group = make_user(), make_user(), Group.objects.create(name="old")
    user.groups.add(group)
    names = ["old", "new"]
    members.get_many(names)

    def move() -> None:
        theirs = Group.objects.get(pk=group.pk)
        theirs.name = "new"
        theirs.save()
        members.get_many(names)  # and readers come

    while_ours_is_open(lambda: change(user, group, other), move)
    assert members.get_many(names) == members(names)


@pytest.fixture
def shop() -> Iterator[Any]:
    """Books, of which a shelf that is deleted leaves the books behind."""

    class Shelf(models.Model):
        class Meta:
            app_label = "myapp"

    class Writer(models.Model):
        name = models.CharField(max_length=10, unique=True)
        town = models.CharField(max_length=10)

        class Meta:
            app_label = "myapp"

    class Book(models.Model):
        shelf = models.ForeignKey(Shelf, on_delete=models.SET_NULL, null=True)
        writer = models.ForeignKey(Writer, on_delete=models.CASCADE, to_field="name")

        class Meta:
            app_label = "myapp"

    with tables_of(Shelf, Writer, Book):
        yield Shelf, Writer, Book


SHELVES: dict[str, Callable[[Any, Any], object]] = {
    "shelf": lambda shelf, book: shelf.delete(),
    "shelves": lambda shelf, book: type(shelf).objects.all().delete(),
    "book": lambda shelf, book: book.delete(),
    "books": lambda shelf, book: type(book).objects.all().delete(),
}


@pytest.mark.parametrize("delete", SHELVES.values(), ids=SHELVES)
def test_deleted__row_between_is_moved_by_another(shop: Any, delete: Callable[[Any, Any], object]) -> None:
    shelves, writers, books = (model.objects for model in shop)

    def load(towns: Any) -> dict[str, list[Any]]:
        rows = books.order_by("pk").values_list("writer__town", "shelf")
        return {town: [shelf for each, shelf in rows if each == town] for town in towns}

    depends_on = {books.model: "writer__town", writers.model: "town"}
    shelved = warm_many("shelved:{id}", ids=list, name="shelved", depends_on=depends_on)(load)
    shelf, writer = shelves.create(), writers.create(name="A", town="old")
    book = books.create(shelf=shelf, writer=writer)
    towns = ["old", "new"]
    shelved.get_many(towns)

    def move() -> None:
        theirs = writers.get(pk=writer.pk)
        theirs.town = "new"
        theirs.save()
        shelved.get_many(towns)  # and readers come

    while_ours_is_open(lambda: delete(shelf, book), move)
    assert shelved.get_many(towns) == shelved(towns)


USERS: Any = WarmingQuerySet(CustomUser)
PAST_US: Any = QuerySet(CustomUser)
RENAMES: dict[str, Callable[[Any], object]] = {
    "save": lambda user: user.save(),
    "save field": lambda user: user.save(update_fields=["first_name"]),
    "update": lambda user: USERS.filter(pk=user.pk).update(first_name=user.first_name),
    "bulk update": lambda user: USERS.bulk_update([user], ["first_name"]),
    "by hand": lambda user: (
        PAST_US.filter(pk=user.pk).update(first_name="new"),
        invalidate_for(user),
    ),
    "queryset by hand": lambda user: (
        PAST_US.filter(pk=user.pk).update(first_name="new"),
        invalidate_for(PAST_US.filter(pk=user.pk)),
    ),
}


@pytest.mark.parametrize("change", RENAMES.values(), ids=RENAMES)
def test_changed__another_links_the_row_to_an_id(make_user: Any, change: Callable[[Any], object]) -> None:
    def load(ids: Any) -> dict[int, list[str]]:
        rows = CustomUser.objects.order_by("pk").values_list("groups", "first_name")
        return {id: [name for group, name in rows if group == id] for id in ids}

    depends_on = {CustomUser: "groups", Through: "group_id"}
    named = warm_many("named:{id}", ids=list, name="named", depends_on=depends_on)(load)
    user, group = make_user(first_name="old"), Group.objects.create(name="editors")
    named.get(group.pk)

    def link() -> None:
        group.user_set.add(user.pk)
        named.get(group.pk)  # and readers come

    user.first_name = "new"
    while_ours_is_open(lambda: change(user), link)
    assert named.get(group.pk) == ["new"]
