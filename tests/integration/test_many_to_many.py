"""Many-to-many fields: which rows come and go with a change, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import models, transaction

from tests.integration.keyed import cached, gone, job
from tests.integration.tables import tables_of
from tests.integration.transactions import Rollback
from users.models import CustomUser
from warmer import BypassError, bypass, invalidate_for, many_to_many, querysets
from warmer.querysets import WarmingQuerySet
from warmer.testing import no_bypass

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize("way", ["add", "remove", "clear", "set", "reverse add", "reverse clear"])
def test_m2m__invalidates_both_ends_as_declared(make_user: Any, way: str) -> None:
    through = CustomUser.groups.through
    job("user:{id}:groups", {through: "customuser_id"})
    job("group:{id}:users", {through: "group_id"})
    user, other = make_user(), make_user()
    group, another = Group.objects.create(name="editors"), Group.objects.create(name="readers")
    if "add" not in way and way != "set":
        user.groups.add(group)
    keys = [f"user:{user.pk}:groups", f"group:{group.pk}:users"]
    cached(*keys, f"user:{other.pk}:groups", f"group:{another.pk}:users")
    match way:
        case "add":
            user.groups.add(group)
        case "remove":
            user.groups.remove(group)
        case "clear":
            user.groups.clear()
        case "set":
            user.groups.set([group])
        case "reverse add":
            group.user_set.add(user)
        case "reverse clear":
            group.user_set.clear()
    assert gone(*keys, f"user:{other.pk}:groups", f"group:{another.pk}:users") == set(keys)


def test_m2m__rows_that_are_named_are_not_looked_at(make_user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who `set` each other would wait for each other's lock."""
    through = CustomUser.groups.through
    job("user:{id}:groups", {through: "customuser"})
    job("group:{id}:users", {through: "group_id"})
    user, group = make_user(), Group.objects.create(name="editors")
    user.groups.add(group)
    keys = cached(f"user:{user.pk}:groups", f"group:{group.pk}:users")
    monkeypatch.setattr(many_to_many, "look", None)
    user.groups.set([])
    assert gone(*keys) == set(keys)


def test_m2m__rolled_back_changes_nothing(make_user: Any) -> None:
    through = CustomUser.groups.through
    job("user:{id}:groups", {through: "customuser_id"})
    user = make_user()
    cached(f"user:{user.pk}:groups")
    with pytest.raises(Rollback), transaction.atomic():
        user.groups.add(Group.objects.create(name="editors"))
        raise Rollback
    assert gone(f"user:{user.pk}:groups") == set()


@pytest.fixture
def club() -> Iterator[Any]:
    """People who are friends both ways, by a table of Django's own and by one of the project's."""

    class Town(models.Model):
        class Meta:
            app_label = "myapp"

    class Person(models.Model):
        town = models.ForeignKey(Town, on_delete=models.CASCADE, null=True)
        friends = models.ManyToManyField("self")
        partners = models.ManyToManyField("self", through="Partnership")

        class Meta:
            app_label = "myapp"

    class Partnership(models.Model):
        one = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
        other = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
        since = models.IntegerField(default=0)

        class Meta:
            app_label = "myapp"

    with tables_of(Town, Person, Partnership):
        yield SimpleNamespace(Town=Town, Person=Person, Partnership=Partnership)


@pytest.mark.parametrize(
    ("field", "mine", "theirs"),
    [("friends", "from_person", "to_person"), ("partners", "one", "other")],
)
@pytest.mark.parametrize("way", ["add", "remove", "clear", "set", "set to none"])
def test_symmetrical__changes_both_rows(club: Any, field: str, mine: str, theirs: str, way: str) -> None:
    through = getattr(club.Person, field).through
    job("mine:{id}", {through: f"{mine}_id"})
    job("theirs:{id}", {through: theirs})
    job("town:{id}", {through: f"{mine}__town_id"})
    job("function:{id}", {through: lambda row: getattr(row, f"{mine}_id")})
    people = [club.Person.objects.create(town=club.Town.objects.create()) for _ in range(3)]
    one, other, _ = people
    related = getattr(one, field)
    if way not in ("add", "set"):
        related.add(other)
    keys = [f"{name}:{person.pk}" for name in ("mine", "theirs", "function") for person in people]
    keys = cached(*keys, *(f"town:{person.town_id}" for person in people))
    with no_bypass():
        match way:
            case "add":
                related.add(other)
            case "remove":
                related.remove(other)
            case "clear":
                related.clear()
            case "set":
                related.set([other])
            case _:
                related.set([])
    assert gone(*keys) == {key for number, key in enumerate(keys) if number % 3 != 2}


def test_symmetrical__mirror_has_what_through_defaults_say(club: Any) -> None:
    job("since:{id}", {club.Partnership: lambda row: f"{row.one_id}-{row.since}"})
    one, other = (club.Person.objects.create() for _ in range(2))
    keys = cached(f"since:{one.pk}-7", f"since:{other.pk}-7")
    one.partners.add(other, through_defaults={"since": 7})
    assert gone(*keys) == set(keys)


@pytest.fixture
def library() -> Iterator[Any]:
    """Documents whose tags are referred to by their codes."""

    class Tag(models.Model):
        code = models.CharField(max_length=20, unique=True)

        class Meta:
            app_label = "myapp"

    class Doc(models.Model):
        name = models.CharField(max_length=20, unique=True)
        tags = models.ManyToManyField(Tag, through="DocTag")

        class Meta:
            app_label = "myapp"

    class DocTag(models.Model):
        doc = models.ForeignKey(Doc, on_delete=models.CASCADE, to_field="name")
        tag = models.ForeignKey(Tag, on_delete=models.CASCADE, to_field="code")

        class Meta:
            app_label = "myapp"

    with tables_of(Tag, Doc, DocTag):
        yield SimpleNamespace(Tag=Tag, Doc=Doc, DocTag=DocTag)


@pytest.mark.parametrize("way", ["add", "remove", "clear", "set"])
@pytest.mark.parametrize("reverse", [False, True])
def test_to_field__is_what_the_rows_hold(library: Any, way: str, reverse: bool) -> None:
    job("docs:{id}", {library.DocTag: "doc_id"})
    job("tags:{id}", {library.DocTag: "tag__id"})
    library.Tag.objects.create(code="other")
    doc, tag = library.Doc.objects.create(name="a"), library.Tag.objects.create(code="py")
    related, what = (tag.doc_set, doc) if reverse else (doc.tags, tag)
    if way in ("remove", "clear"):
        related.add(what)
    keys = cached("docs:a", f"tags:{tag.pk}", "docs:b", f"tags:{tag.pk + 1}")
    with no_bypass():
        match way:
            case "add":
                related.add(what)
            case "remove":
                related.remove(what)
            case "clear":
                related.clear()
            case _:
                related.set([what])
    assert gone(*keys) == set(keys[:2])


DIRECT_WRITES: dict[str, Callable[[Any, Any, Any], object]] = {
    "create": lambda rows, user, group: rows.create(customuser=user, group=group),
    "save": lambda rows, user, group: rows.get().save(),
    "bulk_create": lambda rows, user, group: rows.bulk_create([rows.model(customuser=user, group=group)]),
    "update": lambda rows, user, group: rows.update(group=group),
    "bulk_update": lambda rows, user, group: rows.bulk_update(rows.all(), ["group"]),
    "delete": lambda rows, user, group: rows.get().delete(),
    "delete of a queryset": lambda rows, user, group: rows.all().delete(),
    "raw delete": lambda rows, user, group: rows.all()._raw_delete("default"),
}


@pytest.mark.parametrize("beside_others", [False, True])
@pytest.mark.parametrize("way", DIRECT_WRITES)
def test_table_of_django_itself__written_directly_is_a_bypass(
    make_user: Any, settings: Any, way: str, beside_others: bool
) -> None:
    """Django sends no signals for the rows of such a table, other than those of the field."""
    through = CustomUser.groups.through
    job("groups:{id}", {through: "customuser_id"})
    user, one, other = make_user(), *(Group.objects.create(name=name) for name in "ab")
    user.groups.add(one)
    third = Group.objects.create(name="c")

    def write() -> None:
        with transaction.atomic():
            if beside_others:
                third.user_set.set([make_user()])
                third.user_set.clear()
            DIRECT_WRITES[way](through.objects, user, other)

    bypass.forget()
    settings.WARMER_BYPASS = "raise"
    with pytest.raises(
        BypassError, match=r"'users_customuser_groups' was changed by an? .*test_many_to_many"
    ):
        write()


@pytest.mark.parametrize("way", DIRECT_WRITES)
def test_table_of_django_itself__is_invalidated_by_hand(make_user: Any, way: str) -> None:
    through = CustomUser.groups.through
    job("groups:{id}", {through: "customuser_id"})
    user, one, other = make_user(), *(Group.objects.create(name=name) for name in "ab")
    user.groups.add(one)
    keys = cached(f"groups:{user.pk}", "groups:0")
    with no_bypass(), transaction.atomic():
        invalidate_for(through.objects.filter(customuser=user))
        DIRECT_WRITES[way](through.objects, user, other)
    assert gone(*keys) == {keys[0]}


@pytest.mark.parametrize("way", [way for way in DIRECT_WRITES if way not in ("create", "save", "delete")])
def test_table_of_django_itself__is_heard_by_a_warming_queryset(make_user: Any, way: str) -> None:
    through: Any = CustomUser.groups.through
    job("groups:{id}", {through: "customuser_id"})
    user, one, other = make_user(), *(Group.objects.create(name=name) for name in "ab")
    user.groups.add(one)
    keys = cached(f"groups:{user.pk}", "groups:0")
    with no_bypass():
        DIRECT_WRITES[way](WarmingQuerySet(through), user, other)
    assert gone(*keys) == {keys[0]}


def test_table_of_django_itself__delete_of_very_many_rows_costs_the_whole_job(
    make_user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    through: Any = CustomUser.groups.through
    job("groups:{id}", {through: "customuser_id"})
    user = make_user()
    user.groups.set([Group.objects.create(name=name) for name in "ab"])
    keys = cached(f"groups:{user.pk}", "groups:0")
    monkeypatch.setattr(querysets, "IN_LIMIT", 1)
    with no_bypass():
        WarmingQuerySet(through).delete()
    assert gone(*keys) == set(keys)


@pytest.mark.parametrize("way", ["user", "users", "group", "groups"])
def test_table_of_django_itself__cascades_are_no_bypass(make_user: Any, way: str) -> None:
    job("groups:{id}", {CustomUser.groups.through: "customuser_id"})
    user, group = make_user(), Group.objects.create(name="a")
    user.groups.add(group)
    rows = {"user": user, "users": CustomUser.objects.all(), "group": group, "groups": Group.objects.all()}
    keys = cached(f"groups:{user.pk}")
    with no_bypass():
        rows[way].delete()
    assert gone(*keys) == set(keys)
