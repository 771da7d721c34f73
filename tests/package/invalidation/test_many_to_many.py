"""Many-to-many fields: which rows come and go with a change, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models import ManyToManyRel
from django.db.models.fields.related import RelatedField
from django.db.models.signals import m2m_changed

from tests.support.keyed import cached, gone, job
from tests.support.tables import tables_of
from tests.support.transactions import Rollback
from users.models import CustomUser
from warmer import invalidate_for
from warmer.invalidation import captures_by_triggers

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
    people = [club.Person.objects.create(town=club.Town.objects.create()) for _ in range(3)]
    one, other, _ = people
    related = getattr(one, field)
    if way not in ("add", "set"):
        related.add(other)
    keys = [f"{name}:{person.pk}" for name in ("mine", "theirs") for person in people]
    keys = cached(*keys, *(f"town:{person.town_id}" for person in people))
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


def test_function__of_a_link(club: Any) -> None:
    """Signals do not tell all columns of the rows, so every key goes."""
    since = lambda row: f"{row.one_id}-{row.since}"  # noqa: E731
    job("since:{id}", {club.Partnership: since}, fields={club.Partnership: ["one", "since"]})
    one, other = (club.Person.objects.create() for _ in range(2))
    keys = cached(f"since:{one.pk}-7", f"since:{other.pk}-7", "since:0-7")
    one.partners.add(other, through_defaults={"since": 7})
    assert gone(*keys) == set(keys[:2] if captures_by_triggers() else keys)


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


@pytest.mark.parametrize("way", DIRECT_WRITES)
def test_table_of_django_itself__written_directly(make_user: Any, way: str) -> None:
    """Django sends no signals for the rows of such a table, other than those of the field."""
    through: Any = CustomUser.groups.through
    job("groups:{id}", {through: "customuser_id"})
    user, one, other = make_user(), *(Group.objects.create(name=name) for name in "ab")
    user.groups.add(one)
    keys = cached(f"groups:{user.pk}", "groups:0")
    DIRECT_WRITES[way](through.objects, user, other)
    through.objects.exists()  # SQLite commits an INSERT that returns rows late: the next statement applies it
    assert gone(*keys) == ({keys[0]} if captures_by_triggers() else set())
    user.groups.set([one])
    cached(*keys)
    with transaction.atomic():
        invalidate_for(through.objects.filter(customuser=user))
        DIRECT_WRITES[way](through.objects, user, other)
    assert gone(*keys) == {keys[0]}


@pytest.fixture
def tagged() -> Iterator[Any]:
    """A many-to-many field that is not Django's own, as django-taggit's: its links are rows of a model."""

    class Tag(models.Model):
        class Meta:
            app_label = "myapp"

    class Link(models.Model):
        tag = models.ForeignKey(Tag, on_delete=models.CASCADE)
        object_id = models.IntegerField()

        class Meta:
            app_label = "myapp"

    class TaggableManager(RelatedField):
        many_to_many, many_to_one, one_to_many, one_to_one = True, False, False, False

        def __init__(self) -> None:
            rel = ManyToManyRel(self, Tag, related_name="+", through=Link)
            super().__init__(rel=rel, null=True, serialize=False)

        def contribute_to_related_class(self, *_: Any) -> None:
            """Add nothing to a tag."""

        def m2m_db_table(self) -> str:
            return Link._meta.db_table

    class Page(models.Model):
        tags = TaggableManager()

        class Meta:
            app_label = "myapp"

    with tables_of(Tag, Link, Page):
        assert Page._meta.many_to_many
        yield SimpleNamespace(Tag=Tag, Link=Link, Page=Page)


@pytest.mark.parametrize("way", ["row", "signal"])
def test_field_that_is_not_djangos(tagged: Any, way: str) -> None:
    job("page:{id}", {tagged.Link: "object_id"})
    page, tag = tagged.Page.objects.create(), tagged.Tag.objects.create()
    keys = cached(f"page:{page.pk}", "page:0")
    if way == "row":
        tagged.Link.objects.create(tag=tag, object_id=page.pk)
        assert gone(*keys) == {keys[0]}
        return
    for action in ("pre_add", "post_add", "pre_remove", "post_remove", "pre_clear", "post_clear"):
        m2m_changed.send(
            sender=tagged.Link,
            action=action,
            instance=page,
            reverse=False,
            model=tagged.Tag,
            pk_set=None if "clear" in action else {tag.pk},
            using="default",
        )
    # With triggers the rows tell, and here there are none.
    assert gone(*keys) == (set() if captures_by_triggers() else set(keys))
