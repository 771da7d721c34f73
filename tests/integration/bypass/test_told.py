"""What tells of itself is no bypass: Django's own ways, ours, the admin's, and those of migrations."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.serializers import deserialize, serialize
from django.db import models, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.test import Client

from myapp.models import Post
from tests.integration.bypass.finding import found
from tests.integration.querysets.bulk import POSTS
from tests.integration.tables import tables_of
from users.models import CustomUser
from warmer import tasks, warm, warm_many
from warmer.models import Trigger, WarmingRun
from warmer.querysets import WarmingManager, WarmingQuerySetMixin
from warmer.receivers import UID, after_save
from warmer.testing import no_bypass

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.fixture
def library() -> Iterator[Any]:
    """Models of every kind with jobs on all of them."""

    class Shelf(models.Model):
        name = models.CharField(max_length=20)

        class Meta:
            app_label = "myapp"

    class Tag(models.Model):
        class Meta:
            app_label = "myapp"

    class Book(models.Model):
        shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE, null=True, related_name="books")
        lender = models.ForeignKey(Shelf, on_delete=models.SET_NULL, null=True, related_name="lent")
        title = models.CharField(max_length=20, default="")
        tags = models.ManyToManyField(Tag)
        friends = models.ManyToManyField("self")

        objects = WarmingManager()

        class Meta:
            app_label = "myapp"
            base_manager_name = "objects"

    class Novel(Book):
        author = models.CharField(max_length=20, default="")

        class Meta:
            app_label = "myapp"

    class Proxy(Book):
        class Meta:
            app_label = "myapp"
            proxy = True

    class Uuid(models.Model):
        code = models.CharField(max_length=20, primary_key=True)

        class Meta:
            app_label = "myapp"

    own = (Shelf, Tag, Book, Novel, Uuid, Proxy)
    with tables_of(*own):
        through = [Book.tags.through, Book.friends.through]
        for number, model in enumerate([*own, *through]):
            warm(f"all-{number}", name=f"all_{number}", depends_on=[model])(lambda: 1)
            warm_many(f"id-{number}:{{id}}", ids=list, name=f"id_{number}", depends_on={model: "pk"})(dict)
        yield SimpleNamespace(Shelf=Shelf, Tag=Tag, Book=Book, Novel=Novel, Proxy=Proxy, Uuid=Uuid)


def tell(library: Any) -> None:
    """Change rows in every way that tells of itself."""
    shelf = library.Shelf.objects.create()
    shelf.save()
    shelf.save(update_fields=["name"])
    library.Shelf.objects.get_or_create(name="a")
    library.Shelf.objects.update_or_create(name="a", defaults={"name": "b"})
    library.Uuid(code="given").save()
    library.Uuid(code="given").save()
    book = library.Book.objects.create(shelf=shelf, lender=shelf)
    novel = library.Novel.objects.create(shelf=shelf, title="n")
    novel.save()
    library.Book.objects.get(pk=novel.pk).save()
    library.Proxy.objects.get(pk=book.pk).save()
    tags = [library.Tag.objects.create() for _ in range(3)]
    book.tags.add(tags[0])
    book.tags.add(tags[0].pk, tags[1])
    book.tags.set(tags[1:])
    book.tags.remove(tags[1])
    tags[0].book_set.add(book, novel)
    tags[0].book_set.clear()
    book.tags.clear()
    book.tags.set(tags)
    book.friends.add(novel)
    book.friends.remove(novel)
    book.friends.add(novel)
    shelf.books.add(book)
    shelf.books.remove(book)
    shelf.books.set([book])
    shelf.books.create(title="x")
    shelf.books.clear()
    made = library.Book.objects.bulk_create([library.Book(title="a"), library.Book(title="b", shelf=shelf)])
    library.Book.objects.bulk_create(
        [library.Book(pk=made[0].pk, title="c")],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["title"],
    )
    library.Book.objects.bulk_create([library.Book(pk=made[0].pk)], ignore_conflicts=True)
    library.Book.objects.bulk_update(made, ["title"])
    library.Book.objects.update(title="d")
    library.Book.objects.filter(shelf__name="").update(title="e")
    library.Novel.objects.update(title="f", author="g")
    library.Book.objects.filter(pk=made[0].pk)._raw_delete("default")
    for row in deserialize("json", serialize("json", library.Book.objects.all())):
        row.save()  # as loaddata does
    tags[1].delete()
    library.Tag.objects.all().delete()
    library.Novel.objects.all().delete()
    made[1].delete()
    book.shelf = book.lender = shelf
    book.save()
    library.Book.objects.create(lender=shelf)
    shelf.delete()
    library.Proxy.objects.all().delete()
    library.Book.objects.all().delete()


@pytest.mark.parametrize("inside", ["autocommit", "one transaction", "a transaction each"])
def test_told__is_no_bypass(library: Any, raising: None, inside: str) -> None:
    if inside == "one transaction":
        transaction.atomic(tell)(library)
    else:
        tell(library)
    assert found() == ""


@pytest.mark.django_db(transaction=False)
def test_told__is_no_bypass_in_a_test_case(make_post: Any, make_comment: Any, make_user: Any) -> None:
    with no_bypass():
        post = make_post()
        comment = make_comment(post=post)
        comment.save()
        user = make_user()
        user.groups.add(Group.objects.create(name="a"))
        POSTS.update(title="New")
        with transaction.atomic():
            post.delete()


def test_told__by_a_queryset_of_the_project_behind_the_mixin(make_post: Any, raising: None) -> None:
    class Counting(models.QuerySet[Post]):
        def update(self, **kwargs: Any) -> int:
            return super().update(**kwargs)

    class Mixed(WarmingQuerySetMixin, Counting):
        pass

    make_post()
    Mixed(Post).update(title="New")
    with transaction.atomic():
        Mixed(Post).filter(author__is_active=True).update(title="New")
    assert found() == ""


def test_told__without_its_signal_is_a_bypass(make_post: Any, raising: None) -> None:
    """As where a test library mutes signals."""
    post = make_post()
    muted = post_save.disconnect(after_save, sender=Post, dispatch_uid=UID)
    try:
        post.save()
        assert muted
        assert "an UPDATE at" in found()
    finally:
        post_save.connect(after_save, sender=Post, dispatch_uid=UID)


def test_receiver__of_the_project_that_writes_past_the_signals_is_found(
    make_post: Any, raising: None
) -> None:
    post = make_post()

    def count(**_: Any) -> None:
        Post.objects.update(views=F("views") + 1)

    post_save.connect(count, sender=Post)
    try:
        post.save()
        assert "test_receiver__of_the_project_that_writes_past_the_signals_is_found.<locals>.count" in found()
    finally:
        post_save.disconnect(count, sender=Post)


def test_related_manager__without_a_warming_manager_is_found(
    make_user: Any, make_post: Any, raising: None
) -> None:
    post, user = make_post(), make_user()
    user.posts.add(post)
    assert "Meta.base_manager_name" in found()


def test_admin__edits_are_no_bypass(make_post: Any, raising: None) -> None:
    warm_many("of:{id}", ids=list, name="of", depends_on={CustomUser.groups.through: "customuser_id"})(dict)
    post = make_post()
    client = Client()
    client.force_login(CustomUser.objects.create_superuser("root", "root@example.org", "root"))
    group = Group.objects.create(name="editors")
    for path, form in [
        (f"myapp/post/{post.pk}/delete/", {"post": "yes"}),
        ("auth/group/add/", {"name": "authors"}),
        (f"auth/group/{group.pk}/change/", {"name": "writers"}),
        ("auth/group/", {"action": "delete_selected", "_selected_action": [group.pk], "post": "yes"}),
    ]:
        assert client.post(f"/admin/{path}", form).status_code == 302
    assert not Post.objects.exists()
    assert found() == ""


def test_commands__migrate_and_flush_are_no_bypass(make_post: Any, raising: None) -> None:
    warm("perms", name="perms", depends_on=["auth.Permission", "contenttypes.ContentType"])(lambda: 1)
    make_post()
    call_command("migrate", verbosity=0)
    call_command("flush", interactive=False, verbosity=0)
    assert not Post.objects.exists()
    assert found() == ""


def test_own_tables__are_no_bypass(raising: None) -> None:
    warm("runs", name="runs", depends_on=[WarmingRun])(lambda: 1)
    tasks.request_run("popular_posts", Trigger.COMMAND)
    assert WarmingRun.objects.exists()
    assert found() == ""
