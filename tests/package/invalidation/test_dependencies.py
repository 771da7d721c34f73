"""What a job may say that it depends on: a path, a function, whole models. And enums, as ids."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import models, transaction
from django.db.models import TextChoices

from myapp.models import Post
from tests.support.keyed import by_function, cached, gone, gone_by, job, received, titles
from tests.support.tables import OwnModel, tables_of
from warmer import invalidate_for, warm_many
from warmer.monitoring.audit import audit
from warmer.stores.redis.store import RedisStore

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_dependency__path_over_a_generic_relation() -> None:
    class Tag(OwnModel):
        content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
        object_id = models.PositiveIntegerField()
        target = GenericForeignKey()

    class Thing(OwnModel):
        name = models.CharField(max_length=20)
        tags = GenericRelation(Tag)

    with tables_of(Tag, Thing):
        job("tag:{id}", {Thing: "tags"})
        job("tagged:{id}", {Tag: "object_id"})
        thing, other = Thing.objects.create(), Thing.objects.create()
        tag = thing.tags.create()
        of_tag, of_thing, of_other = keys = [f"tag:{tag.pk}", f"tagged:{thing.pk}", f"tagged:{other.pk}"]
        for change, expected in (
            (thing.save, {of_tag}),
            (lambda: (thing.save(), tag.save()), {of_tag, of_thing}),
            (lambda: (setattr(tag, "target", other), tag.save()), {*keys}),
            (tag.delete, {of_tag, of_other}),
        ):
            assert gone_by([*keys, "tag:0", "tagged:0"], change) == expected


def test_dependency__function_of_the_named_fields(make_post: Any) -> None:
    def ids(post: Any) -> list[str]:
        seen.add((post.slug, post.pk, hasattr(post, "title")))
        return [post.slug, "everyone"]

    seen: set[Any] = set()
    job("slug:{id}", {Post: ids}, fields={Post: ["slug", "body"]})
    post = make_post(slug="old", title="old")
    keys = cached("slug:old", "slug:new", "slug:everyone")
    seen.clear()
    post.slug = "new"
    post.save()
    assert gone(*keys) == set(keys)
    assert seen == {("old", post.pk, False), ("new", post.pk, False)}
    cached(*keys)
    post.title = "new"
    post.save(update_fields=["title"])
    assert gone(*keys) == set()


def fails(post: Any) -> list[str]:
    raise ValueError("no ids")


NO_IDS = [fails, lambda post: post, lambda post: [post], lambda _: 1.0, lambda _: [Decimal(1)], lambda _: b"12"]


@pytest.mark.parametrize("given", NO_IDS)
@pytest.mark.parametrize("in_atomic", [False, True])
def test_dependency__function_that_gives_no_ids_costs_the_job_and_not_the_change(
    given: Any, in_atomic: bool, make_post: Any, caplog: pytest.LogCaptureFixture
) -> None:
    post = make_post()
    job("f:{id}", {Post: given}, fields={Post: ["title"]})
    why = "ValueError: no ids" if given is fails else "TypeError: expected an int, a str or a UUID, several"
    post.title = "New"
    for change in (post.save, partial(invalidate_for, Post.objects.all()), Post.objects.all().delete):
        keys = cached("f:1", "f:2")
        with transaction.atomic() if in_atomic else nullcontext():
            change()
        assert gone(*keys) == set(keys)
        assert why in caplog.text
        caplog.clear()


def test_dependency__none_is_no_id(make_post: Any) -> None:
    job("p:{id}", {Post: "published_at"})
    heard: list[Any] = []
    with received(lambda sender, **_: heard.append(sender.name)):
        make_post(published_at=None)
    assert "posts" in heard
    assert "p" not in heard


def test_dependency__loader_that_reads_another_job_before_it_is_swept(
    make_post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = titles(depends_on=[Post])
    cards: Any = warm_many("card:{id}", ids=list, name="cards", depends_on={Post: "id"})(job.get_many)

    def read_then_sweep(self: Any) -> None:
        cards.get(post.pk)
        sweep(self)

    post = make_post(title="Old")
    assert cards.get(post.pk) == "Old"
    sweep = RedisStore.sweep
    monkeypatch.setattr(RedisStore, "sweep", read_then_sweep)
    post.title = "New"
    post.save()
    assert job.get(post.pk) == "New"
    assert cards.get(post.pk) == "New"


# -- members of an enum as ids: each is known by its value, as the column gives it -----------------------
MEMBERS: Any = {"RED": "red", "BLUE": "blue"}
KINDS = [
    Enum("Text", MEMBERS, type=str),  # whose text is not its value, as in many a project
    Enum("Plain", MEMBERS),
    TextChoices("Choices", MEMBERS),
]


@pytest.fixture(params=KINDS)
def kinds(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def asked() -> list[Any]:
    """What the loader was asked for."""
    return []


@pytest.fixture
def slugs(kinds: Any, asked: list[Any]) -> Any:
    @warm_many("slug:{id}", ids=lambda: [*kinds, "a b"], name="slugs", depends_on={Post: "slug"})
    def titles(ids: Sequence[str]) -> Mapping[str, str]:
        asked.extend(ids)
        return dict(Post.objects.filter(slug__in=ids).values_list("slug", "title"))

    return titles


def test_reads__know_a_member_by_its_value(make_post: Any, slugs: Any, kinds: Any, asked: list[Any]) -> None:
    post = make_post(slug="red", title="Old")
    assert slugs.get(kinds.RED) == slugs.get("red") == cache.get("slug:red") == "Old"
    post.title = "New"
    post.save()
    assert slugs.get(kinds.RED) == "New"
    assert slugs.get_many([kinds.RED, kinds.BLUE]) == {kinds.RED: "New"}
    assert asked == ["red", "red", "blue"]
    assert {type(each) for each in asked} == {str}


def test_warm__of_declared_members_beside_what_is_no_id(
    make_post: Any, slugs: Any, kinds: Any, asked: list[Any]
) -> None:
    make_post(slug="red", title="Red")
    report = slugs.warm()
    assert (report.written, report.no_value, report.failed) == (1, 1, 1)
    assert cache.get("slug:red") == "Red"
    assert {type(each) for each in asked} == {str}
    found = audit(slugs.spec)
    assert (found.sampled, found.right, found.no_value) == (3, 1, 1)


def test_invalidation__by_hand_and_by_a_function_that_gives_members(make_post: Any, slugs: Any, kinds: Any) -> None:
    keys = ["slug:red", "slug:blue"]
    assert gone_by(keys, slugs.invalidate, [kinds.RED]) == {"slug:red"}
    by_function("k:{id}", Post, lambda post: [kinds.RED, kinds.BLUE], "title")
    assert gone_by(["k:red", "k:blue", "k:green"], make_post) == {"k:red", "k:blue"}
