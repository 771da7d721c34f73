"""Many-to-many fields: which rows come and go with a change, and who hears of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models import ManyToManyRel
from django.db.models.fields.related import RelatedField
from django.db.models.signals import m2m_changed

from tests.support.keyed import by_function, cached, gone, gone_by, job
from tests.support.tables import OwnModel, tables_of
from users.models import CustomUser
from warmer import invalidate_for
from warmer.invalidation import captures_by_triggers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

Through: Any = CustomUser.groups.through


WAYS: dict[str, Callable[[Any, Any], object]] = {
    "add": lambda related, other: related.add(other),
    "remove": lambda related, other: related.remove(other),
    "clear": lambda related, other: related.clear(),
    "set": lambda related, other: related.set([other]),
    "set to none": lambda related, other: related.set([]),
}
each_way = pytest.mark.parametrize("way", WAYS)


def link_first(way: str, related: Any, other: Any) -> None:
    """Relate another row where the way is one of taking it away."""
    if way not in ("add", "set"):
        related.add(other)


@pytest.mark.parametrize("way", ["instance", "queryset"])
def test_m2m__goes_with_either_end(make_user: Any, way: str) -> None:
    job("groups:{id}", {Through: "customuser_id"})
    user, other = make_user(), make_user()
    groups = [Group.objects.create(name=name) for name in "ab"]
    user.groups.set(groups)
    other.groups.set(groups[:1])
    keys = [f"groups:{user.pk}", f"groups:{other.pk}", "groups:0"]
    for row, ends in ((groups[0], keys[:2]), (user, keys[:1])):
        rows = row if way == "instance" else type(row).objects.filter(pk=row.pk)
        assert gone_by(keys, rows.delete) == set(ends)


@pytest.fixture
def club() -> Iterator[Any]:
    """People who are partners both ways, by a table of the project's."""

    class Town(OwnModel):
        pass

    class Person(OwnModel):
        town = models.ForeignKey(Town, on_delete=models.CASCADE, null=True)
        partners = models.ManyToManyField("self", through="Partnership")

    class Partnership(OwnModel):
        one = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
        other = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
        since = models.IntegerField(default=0)

    with tables_of(Town, Person, Partnership) as made:
        yield made


@each_way
def test_symmetrical__changes_both_rows(club: Any, way: str) -> None:
    job("one:{id}", {club.Partnership: "one_id"})
    job("other:{id}", {club.Partnership: "other"})
    job("town:{id}", {club.Partnership: "one__town_id"})
    people = [club.Person.objects.create(town=club.Town.objects.create()) for _ in range(3)]
    one, other, _ = people
    link_first(way, one.partners, other)
    keys = [{f"one:{each.pk}", f"other:{each.pk}", f"town:{each.town_id}"} for each in people]
    assert gone_by(set[str]().union(*keys), WAYS[way], one.partners, other) == keys[0] | keys[1]


def test_function__of_a_link(club: Any) -> None:
    """Signals do not tell all columns of the rows, so every key goes."""
    by_function("since:{id}", club.Partnership, lambda row: f"{row.one_id}-{row.since}", "one", "since")
    one, other = (club.Person.objects.create() for _ in range(2))
    keys = [f"since:{one.pk}-7", f"since:{other.pk}-7", "since:0-7"]
    found = gone_by(keys, one.partners.add, other, through_defaults={"since": 7})
    assert found == set(keys[:2] if captures_by_triggers() else keys)


@pytest.fixture
def library() -> Iterator[Any]:
    """Documents whose tags are referred to by their codes."""

    class Tag(OwnModel):
        code = models.CharField(max_length=20, unique=True)

    class Doc(OwnModel):
        name = models.CharField(max_length=20, unique=True)
        tags = models.ManyToManyField(Tag, through="DocTag")

    class DocTag(OwnModel):
        doc = models.ForeignKey(Doc, on_delete=models.CASCADE, to_field="name")
        tag = models.ForeignKey(Tag, on_delete=models.CASCADE, to_field="code")

    with tables_of(Tag, Doc, DocTag) as made:
        yield made


@each_way
@pytest.mark.parametrize("reverse", [False, True])
def test_to_field__is_what_the_rows_hold(library: Any, way: str, reverse: bool) -> None:
    job("docs:{id}", {library.DocTag: "doc_id"})
    job("tags:{id}", {library.DocTag: "tag__id"})
    library.Tag.objects.create(code="other")
    doc, tag = library.Doc.objects.create(name="a"), library.Tag.objects.create(code="py")
    related, what = (tag.doc_set, doc) if reverse else (doc.tags, tag)
    link_first(way, related, what)
    keys = ["docs:a", f"tags:{tag.pk}", "docs:b", f"tags:{tag.pk + 1}"]
    assert gone_by(keys, WAYS[way], related, what) == set(keys[:2])


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
    job("groups:{id}", {Through: "customuser_id"})
    user, one, other = make_user(), *(Group.objects.create(name=name) for name in "ab")
    user.groups.add(one)
    keys = cached(f"groups:{user.pk}", "groups:0")
    DIRECT_WRITES[way](Through.objects, user, other)
    Through.objects.exists()  # SQLite commits an INSERT that returns rows late: the next statement applies it
    assert gone(*keys) == ({keys[0]} if captures_by_triggers() else set())
    user.groups.set([one])
    cached(*keys)
    with transaction.atomic():
        invalidate_for(Through.objects.filter(customuser=user))
        DIRECT_WRITES[way](Through.objects, user, other)
    assert gone(*keys) == {keys[0]}


@pytest.fixture
def tagged() -> Iterator[Any]:
    """A many-to-many field that is not Django's own, as django-taggit's: its links are rows of a model."""

    class Tag(OwnModel):
        pass

    class Link(OwnModel):
        tag = models.ForeignKey(Tag, on_delete=models.CASCADE)
        object_id = models.IntegerField()

    class TaggableManager(RelatedField):
        many_to_many, many_to_one, one_to_many, one_to_one = True, False, False, False

        def __init__(self) -> None:
            rel = ManyToManyRel(self, Tag, related_name="+", through=Link)
            super().__init__(rel=rel, null=True, serialize=False)

        def contribute_to_related_class(self, *_: Any) -> None:
            """Add nothing to a tag."""

        def m2m_db_table(self) -> str:
            return Link._meta.db_table

    class Page(OwnModel):
        tags = TaggableManager()

    with tables_of(Tag, Link, Page) as made:
        assert Page._meta.many_to_many
        yield made


def test_field_that_is_not_djangos__signal_of_it_costs_every_key(tagged: Any) -> None:
    job("page:{id}", {tagged.Link: "object_id"})
    page, tag = tagged.Page.objects.create(), tagged.Tag.objects.create()
    keys = cached(f"page:{page.pk}", "page:0")
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
