"""What a job may say that it depends on: a path, a function, whole models."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction

from myapp.models import Comment, Post
from tests.integration.keyed import cached, gone
from tests.integration.tables import tables_of
from warmer import invalidate_for, jobs, keys_invalidated, warm_many
from warmer.querysets import WarmingQuerySet
from warmer.stores.redis import RedisStore
from warmer.testing import no_bypass

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_dependency__path_over_a_relation(make_post: Any, make_comment: Any) -> None:
    warm_many("a:{id}", ids=list, name="a", depends_on={Comment: "post__author_id"})(dict)
    old, new = make_post(), make_post()
    comment = make_comment(post=old)
    keys = [f"a:{old.author_id}", f"a:{new.author_id}"]
    cached(*keys)
    comment.post = new
    comment.save()
    assert gone(*keys) == set(keys)


def test_dependency__path_over_a_generic_relation() -> None:
    class Tag(models.Model):
        content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
        object_id = models.PositiveIntegerField()
        target = GenericForeignKey()

        class Meta:
            app_label = "myapp"

    class Thing(models.Model):
        tags = GenericRelation(Tag)

        class Meta:
            app_label = "myapp"

    with tables_of(Tag, Thing):
        warm_many("tag:{id}", ids=list, name="tags", depends_on={Thing: "tags"})(dict)
        warm_many("tagged:{id}", ids=list, name="tagged", depends_on={Tag: "object_id"})(dict)
        try:
            thing = Thing.objects.create()
            tag = thing.tags.create()
            keys = cached(f"tag:{tag.pk}", f"tagged:{thing.pk}")
            thing.save()
            assert gone(*keys) == {f"tag:{tag.pk}"}
            tag.save()
            assert gone(*keys) == {f"tag:{tag.pk}", f"tagged:{thing.pk}"}
        finally:
            jobs.unregister("tags")
            jobs.unregister("tagged")


def test_dependency__function_of_the_instance(make_post: Any) -> None:
    def ids(post: Post) -> list[str]:
        return [post.slug, "everyone"]

    warm_many("slug:{id}", ids=list, name="slugs", depends_on={Post: ids})(dict)
    post = make_post(slug="old")
    cached("slug:old", "slug:new", "slug:everyone")
    post.slug = "new"
    post.save()
    assert gone("slug:old", "slug:new", "slug:everyone") == {"slug:old", "slug:new", "slug:everyone"}


def test_dependency__function_that_fails_costs_the_job_and_not_the_save(
    make_post: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def ids(post: Post) -> list[str]:
        raise ValueError("no ids")

    warm_many("f:{id}", ids=list, name="f", depends_on={Post: ids})(dict)
    cached("f:1", "f:2")
    make_post()
    assert gone("f:1", "f:2") == {"f:1", "f:2"}
    assert "all of its keys are invalidated: ValueError: no ids" in caplog.text


@pytest.mark.parametrize(
    "given",
    [lambda post: post, lambda post: [post], lambda post: 1.0, lambda post: [Decimal(1)], lambda post: b"12"],
    ids=["row", "rows", "float", "decimals", "bytes"],
)
@pytest.mark.parametrize("in_atomic", [False, True])
def test_dependency__function_that_gives_no_ids_costs_the_job_and_not_the_change(
    given: Any, in_atomic: bool, make_post: Any, caplog: pytest.LogCaptureFixture
) -> None:
    post = make_post()
    warm_many("f:{id}", ids=list, name="f", depends_on={Post: given})(dict)
    for change in (
        post.save,
        partial(invalidate_for, Post.objects.all()),
        partial(WarmingQuerySet(Post).update, title="New"),
        WarmingQuerySet(Post).delete,
    ):
        cached("f:1", "f:2")
        with transaction.atomic() if in_atomic else nullcontext(), no_bypass():
            change()
        assert gone("f:1", "f:2") == {"f:1", "f:2"}
        assert "TypeError: expected an int, a str or a UUID, several of them, or None, not " in caplog.text
        caplog.clear()


def test_dependency__list_on_a_keyed_job_invalidates_every_key(make_post: Any) -> None:
    warm_many("all:{id}", ids=list, name="all", depends_on=[Post])(dict)
    cached("all:1", "all:2", "other:1")
    make_post()
    assert gone("all:1", "all:2", "other:1") == {"all:1", "all:2"}


def test_dependency__none_is_no_id(make_post: Any) -> None:
    warm_many("p:{id}", ids=list, name="p", depends_on={Post: "published_at"})(dict)
    heard: list[Any] = []
    keys_invalidated.connect(lambda sender, **_: heard.append(sender.name), weak=False, dispatch_uid="t")
    try:
        make_post(published_at=None)
    finally:
        keys_invalidated.disconnect(dispatch_uid="t")
    assert "posts" in heard
    assert "p" not in heard


@pytest.mark.parametrize("durable", [True, False])
def test_dependency__loader_that_reads_another_job_before_it_is_swept(
    durable: bool, make_post: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_DURABLE_INVALIDATION = durable

    @warm_many("title:{id}", ids=list, name="titles", depends_on=[Post])
    def titles(ids: Any) -> dict[int, str]:
        return dict(Post.objects.filter(pk__in=ids).values_list("pk", "title"))

    @warm_many("card:{id}", ids=list, name="cards", depends_on={Post: "id"})
    def cards(ids: Any) -> dict[Any, Any]:
        return titles.get_many(ids)

    def read_then_sweep(self: Any) -> None:
        cards.get(post.pk)
        sweep(self)

    post = make_post(title="Old")
    assert cards.get(post.pk) == "Old"
    sweep = RedisStore.sweep
    monkeypatch.setattr(RedisStore, "sweep", read_then_sweep)
    post.title = "New"
    post.save()
    assert titles.get(post.pk) == "New"
    assert cards.get(post.pk) == "New"
