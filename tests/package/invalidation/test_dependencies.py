"""What a job may say that it depends on: a path, a function, whole models."""

from contextlib import nullcontext
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction

from myapp.models import Post
from tests.support.keyed import cached, gone, gone_by, job, received, titles
from tests.support.tables import OwnModel, tables_of
from warmer import invalidate_for, warm_many
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
