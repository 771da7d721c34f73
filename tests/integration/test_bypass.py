"""The bypass detector: what it finds, when, what it does, and what it leaves alone."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import unittest
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.serializers import deserialize, serialize
from django.core.signals import request_finished
from django.db import connection, connections, models, transaction
from django.db.models import F
from django.db.models.signals import post_save
from django.test import Client, TestCase, TransactionTestCase

from myapp.models import Comment, Post
from users.models import CustomUser
from warmer import BypassError, BypassWarning, bypass, invalidate_for, jobs, tasks, warm, warm_many
from warmer.bypass import events
from warmer.bypass.watches import watch_of
from warmer.models import Trigger, WarmingRun
from warmer.querysets import WarmingManager, WarmingQuerySet, WarmingQuerySetMixin
from warmer.receivers import UID, after_save
from warmer.testing import no_bypass

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

POSTS: Any = WarmingQuerySet(Post)
PACKAGE = str(Path(sys.prefix) / "lib/site-packages/other.py")


class Rollback(Exception):
    """Rolls a transaction back."""


@pytest.fixture
def raising(settings: Any) -> Iterator[None]:
    bypass.forget()
    settings.WARMER_BYPASS = "raise"
    yield
    bypass.forget()


def raw(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def gone(*keys: str) -> set[str]:
    return set(keys) - set(cache.get_many(keys))


def cached(*keys: str) -> list[str]:
    cache.set_many(dict.fromkeys(keys, "cached"))
    return list(keys)


def found(call: Callable[[], object] = bypass.check) -> str:
    """Return the message of a bypass that a call raises; empty when there is none."""
    try:
        call()
    except BypassError as error:
        return str(error)
    return ""


WRITES: dict[str, Callable[[Any], object]] = {
    "update": lambda post: Post.objects.update(title="New"),
    "update without effect on the value": lambda post: Post.objects.update(title=F("title")),
    "bulk_update": lambda post: Post.objects.bulk_update([post], ["title"]),
    "bulk_create": lambda post: Post.objects.bulk_create(
        [Post(author=post.author, slug="new", title="t", body="b")]
    ),
    "ignored conflicts": lambda post: Post.objects.bulk_create(
        [Post(author=post.author, slug="new", title="t", body="b")], ignore_conflicts=True
    ),
    "raw delete": lambda post: Post.objects.filter(pk=post.pk)._raw_delete("default"),
    "raw update": lambda post: raw("update myapp_post set title = 'New' where id = %s", post.pk),
    "raw update with a table of its own": lambda post: raw(
        'WITH old AS (SELECT id FROM myapp_post) UPDATE "myapp_post" SET title = %s', "New"
    ),
    "raw delete by hand": lambda post: raw("DELETE FROM myapp_post WHERE id = %s", post.pk),
    "executemany": lambda post: connection.cursor().executemany(
        "UPDATE myapp_post SET title = %s", [("a",), ("b",)]
    ),
}


@pytest.mark.parametrize("way", WRITES)
def test_write__in_a_transaction_is_found_before_the_commit(make_post: Any, raising: None, way: str) -> None:
    post = make_post()

    def write() -> None:
        with transaction.atomic():
            Group.objects.create(name="beside it")
            WRITES[way](post)

    message = found(write)
    assert "The table 'myapp_post' was changed by a" in message
    assert "tests/integration/test_bypass.py:" in message
    assert "nothing was invalidated for the jobs popular_posts, posts." in message
    assert "warmer.invalidate_for(...)" in message
    assert "warmer.querysets.WarmingQuerySet" in message
    # Nothing of it happened.
    assert not Group.objects.exists()
    assert list(Post.objects.values_list("title")) == [(post.title,)]
    assert connection.get_autocommit()
    assert found() == ""


@pytest.mark.parametrize("way", WRITES)
def test_write__in_autocommit_is_found_by_a_check(make_post: Any, raising: None, way: str) -> None:
    post = make_post()
    WRITES[way](post)
    assert "The table 'myapp_post' was changed by a" in found()
    assert found() == ""  # said once


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("way", WRITES)
def test_write__in_a_transaction_is_matched_by_invalidate_for(
    make_post: Any, raising: None, way: str, before: bool
) -> None:
    post = make_post()
    with transaction.atomic():
        if before:
            invalidate_for(post)
        WRITES[way](post)
        if not before:
            invalidate_for(post)
    assert found() == ""


@pytest.mark.parametrize("way", WRITES)
def test_write__in_autocommit_is_matched_by_what_comes_after_it(
    make_post: Any, raising: None, way: str
) -> None:
    post = make_post()
    WRITES[way](post)
    invalidate_for([post])
    assert found() == ""


def test_write__in_autocommit_is_not_matched_by_what_came_before_it(make_post: Any, raising: None) -> None:
    """A reader may have filled the cache between the two."""
    post = make_post()
    invalidate_for(post)
    Post.objects.update(title="New")
    assert found() != ""


def test_write__is_not_matched_by_a_save_of_another_row(make_post: Any, raising: None) -> None:
    post, other = make_post(), make_post()

    def write() -> None:
        with transaction.atomic():
            other.save()
            Post.objects.filter(pk=post.pk).update(title="New")
            other.save()
            POSTS.filter(pk=other.pk).update(title="Newer")
            other.delete()

    assert "an UPDATE at" in found(write)
    Post.objects.filter(pk=post.pk).update(title="New")
    Post.objects.get(pk=post.pk).save()
    assert "an UPDATE at" in found()


def test_write__is_not_matched_by_a_queryset_that_its_rows_have_left(make_post: Any, raising: None) -> None:
    make_post(title="draft")
    drafts = Post.objects.filter(title="draft")

    def write() -> None:
        with transaction.atomic():
            drafts.update(title="done")
            invalidate_for(drafts)

    assert "an UPDATE at" in found(write)


def test_write__is_matched_for_some_jobs_and_not_for_others(
    make_post: Any, make_comment: Any, raising: None
) -> None:
    post = make_post()
    comment = make_comment(post=post)

    def write() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")
            invalidate_for(comment)

    # The job `posts` depends on comments, too; the job `popular_posts` does not.
    assert "nothing was invalidated for the job popular_posts." in found(write)


def test_write__that_changed_nothing_is_none(make_post: Any, raising: None) -> None:
    with transaction.atomic():
        Post.objects.filter(pk=0).update(title="New")
        raw("DELETE FROM myapp_post WHERE id = 0")
    Post.objects.filter(pk=0).update(title="New")
    assert found() == ""


def test_write__that_failed_is_none(make_post: Any, raising: None) -> None:
    post, other = make_post(), make_post()
    with pytest.raises(Exception, match=r"(?i)unique"):
        Post.objects.filter(pk=post.pk).update(slug=other.slug)
    assert found() == ""


def test_write__of_a_table_without_a_job_is_none(raising: None) -> None:
    Group.objects.bulk_create([Group(name="a")])
    Group.objects.update(name="b")
    raw("DELETE FROM auth_group")
    assert found() == ""


def test_tables__follow_the_jobs(raising: None, registry_of_groups: Callable[[], None]) -> None:
    Group.objects.bulk_create([Group(name="a")])
    assert found() == ""
    registry_of_groups()
    Group.objects.update(name="b")
    assert "'auth_group'" in found()


@pytest.fixture
def registry_of_groups() -> Callable[[], None]:
    return lambda: warm("groups", name="groups", depends_on=[Group])(lambda: 1) and None


# -- transactions ----------------------------------------------------------------------------


def test_transaction__rolled_back_is_forgotten(make_post: Any, raising: None) -> None:
    make_post()
    with pytest.raises(Rollback), transaction.atomic():
        Post.objects.update(title="New")
        raise Rollback
    with transaction.atomic():
        with pytest.raises(Rollback), transaction.atomic():
            Post.objects.update(title="New")
            raise Rollback
        Group.objects.create(name="kept")
    assert found() == ""


def test_transaction__match_that_was_rolled_back_is_none(make_post: Any, raising: None) -> None:
    post = make_post()

    def write() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")
            with pytest.raises(Rollback), transaction.atomic():
                invalidate_for(post)
                raise Rollback

    assert "an UPDATE at" in found(write)


def test_transaction__same_write_again_after_its_savepoint_was_rolled_back(
    make_post: Any, raising: None
) -> None:
    make_post()

    def update() -> None:
        Post.objects.update(title="New")

    def write() -> None:
        with transaction.atomic():
            with pytest.raises(Rollback), transaction.atomic():
                update()
                raise Rollback
            update()

    assert "an UPDATE at" in found(write)


def test_transaction__match_in_another_savepoint_will_do(make_post: Any, raising: None) -> None:
    post = make_post()
    with transaction.atomic():
        with transaction.atomic():
            Post.objects.update(title="New")
        with transaction.atomic():
            invalidate_for(post)
    assert found() == ""


def test_transaction__match_after_it_is_too_late(make_post: Any, raising: None) -> None:
    post = make_post()

    def write() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")
        invalidate_for(post)

    assert "an UPDATE at" in found(write)


@pytest.mark.parametrize("as_decorator", [True, False])
def test_transaction__that_django_opens_for_one_call_waits_for_the_next_line(
    make_post: Any, raising: None, as_decorator: bool
) -> None:
    post = make_post()
    new = Post(author=post.author, slug="new", title="t", body="b")
    Post.objects.bulk_create([new])  # opens a transaction of its own
    invalidate_for(new)
    Post.objects.bulk_update([post], ["title"])
    invalidate_for(post)
    assert found() == ""

    def write() -> None:
        Post.objects.bulk_update([post], ["title"])

    if as_decorator:
        assert "an UPDATE at" in found(transaction.atomic(write))
    else:
        assert found(write) == ""
        assert "an UPDATE at" in found()


def test_transaction__commit_of_another_does_not_end_the_patience(make_post: Any, raising: None) -> None:
    post = make_post()
    Post.objects.bulk_update([post], ["title"])
    with transaction.atomic():
        Group.objects.create(name="a")
    with transaction.atomic():
        post.save()
    invalidate_for(post)
    assert found() == ""


def test_transaction__rolled_back_is_no_match_of_what_came_before_it(make_post: Any, raising: None) -> None:
    post = make_post()
    Post.objects.update(title="New")
    with pytest.raises(Rollback), transaction.atomic():
        invalidate_for(post)
        Group.objects.create(name="a")
        raise Rollback
    assert "an UPDATE at" in found()


def test_transaction__matches_for_one_job_each_add_up(
    make_post: Any, make_comment: Any, raising: None
) -> None:
    post = make_post()
    comment = make_comment(post=post)
    Post.objects.update(title="New")
    with transaction.atomic():
        invalidate_for(comment)  # the job `posts` alone depends on comments
    assert "for the job popular_posts." in found()
    Post.objects.update(title="New")
    with transaction.atomic():
        invalidate_for(comment)
    jobs["popular_posts"].invalidate()  # type: ignore[attr-defined]
    assert found() == ""


def test_transaction__raises_the_error_of_the_project_first(make_post: Any, raising: None) -> None:
    make_post()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Post.objects.update(title="New")
        _ = 1 / 0
    assert found() == ""


def test_transaction__next_one_works_after_a_bypass(make_post: Any, raising: None) -> None:
    post = make_post()
    keys = cached(f"post:{post.pk}")

    def write() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")

    assert found(write) != ""
    with transaction.atomic():
        post.title = "Newer"
        post.save()
    assert Post.objects.get().title == "Newer"
    assert gone(*keys) == set(keys)


def test_transaction__callbacks_of_the_project_do_not_run_for_what_is_refused(
    make_post: Any, raising: None
) -> None:
    make_post()
    ran: list[int] = []

    def write() -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: ran.append(1))
            Post.objects.update(title="New")

    assert found(write) != ""
    assert ran == []


# -- without a transaction -------------------------------------------------------------------


def test_autocommit__job_invalidated_by_hand_is_a_match(make_post: Any, raising: None) -> None:
    post = make_post()
    Post.objects.update(title="New")
    jobs["posts"].invalidate([post.pk])  # type: ignore[attr-defined]
    assert "for the job popular_posts." in found()
    Post.objects.update(title="New")
    jobs["posts"].invalidate([post.pk])  # type: ignore[attr-defined]
    jobs["popular_posts"].invalidate()  # type: ignore[attr-defined]
    assert found() == ""

    def too_early() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")
            jobs["posts"].invalidate()  # type: ignore[attr-defined]
            jobs["popular_posts"].invalidate()  # type: ignore[attr-defined]

    assert "for the jobs popular_posts, posts." in found(too_early)


def test_autocommit__is_judged_with_the_next_write_after_the_function(make_post: Any, raising: None) -> None:
    make_post()
    said: list[str] = []

    def first_task() -> None:
        Post.objects.update(title="New")
        Group.objects.create(name="a")  # it goes on: the match may come yet

    def next_task() -> None:
        said.append(found(Group.objects.exists))  # a read is not enough
        said.append(found(lambda: Group.objects.create(name="b")))
        connection.close()

    # Called by a package of others, so that each task is the outermost function of the project.
    code = compile("def work(tasks):\n    for task in tasks:\n        task()", PACKAGE, "exec")
    scope: dict[str, Any] = {}
    exec(code, scope)
    worker = Thread(target=scope["work"], args=([first_task, next_task],))
    worker.start()
    worker.join()
    read, write = said
    assert read == ""
    assert "an UPDATE at" in write
    assert "<locals>.first_task, and nothing" in write
    assert list(Group.objects.values_list("name", flat=True)) == ["a"]


def test_autocommit__function_that_never_ends_is_judged_all_the_same(
    make_post: Any, raising: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_post()
    Post.objects.update(title="New")
    Group.objects.create(name="a")
    monkeypatch.setitem(bypass.PATIENCE_SECONDS, "raise", 0.0)
    assert "an UPDATE at" in found(lambda: Group.objects.create(name="b"))


def test_autocommit__same_write_again_is_kept_once(make_post: Any, raising: None) -> None:
    """A loop over many rows is looked through at each of its statements."""
    post = make_post()
    watch = watch_of(connections["default"])
    assert watch is not None
    for _ in range(50):
        Post.objects.update(title="New")
        Post.objects.bulk_update([post], ["title"])  # opens a transaction of its own
    assert len(watch.journal._open) == 2
    invalidate_for(post)
    assert found() == ""
    for _ in range(2):
        Post.objects.update(title="New")
    invalidate_for(post)
    Post.objects.update(title="New")
    assert found().count("an UPDATE at") == 1


def test_forget__inside_a_transaction_is_for_good(make_post: Any, raising: None) -> None:
    make_post()
    with transaction.atomic():
        Post.objects.update(title="New")
        bypass.forget()
    assert found() == ""

    def write() -> None:
        with transaction.atomic():
            for _ in range(2):
                bypass.forget()
                Post.objects.update(title="New")

    assert found(write).count("an UPDATE at") == 1


def test_request__is_judged_at_its_end(make_post: Any, raising: None) -> None:
    make_post()
    Post.objects.update(title="New")
    assert "an UPDATE at" in found(lambda: request_finished.send(None))


def test_task__is_judged_at_its_end(make_post: Any, raising: None) -> None:
    def end(*, is_eager: bool) -> None:
        tasks.upkeep._judge_writes(task=SimpleNamespace(request=SimpleNamespace(is_eager=is_eager)))

    make_post()
    Post.objects.update(title="New")
    end(is_eager=True)  # in process: its caller goes on
    assert "an UPDATE at" in found(lambda: end(is_eager=False))


def test_process__is_judged_at_its_end(tmp_path: Path) -> None:
    script = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import Group
from warmer import warm
warm("groups", name="groups", depends_on=[Group])(lambda: 1)
Group.objects.create(name="a")
Group.objects.update(name="b")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            "DJANGO_ENV": "development",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
            "WARMER_DATA_DIR": str(tmp_path),
            "PATH": "",
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "BypassWarning: The table 'auth_group' was changed by an UPDATE at" in done.stderr
    assert done.stderr.count("BypassWarning") == 1


# -- what tells of itself --------------------------------------------------------------------


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

    tables = [Shelf, Tag, Book, Novel, Uuid]
    with connection.schema_editor() as editor:
        for model in tables:
            editor.create_model(model)
    try:
        through = [Book.tags.through, Book.friends.through]
        for number, model in enumerate([*tables, Proxy, *through]):
            warm(f"all-{number}", name=f"all_{number}", depends_on=[model])(lambda: 1)
            warm_many(f"id-{number}:{{id}}", ids=list, name=f"id_{number}", depends_on={model: "pk"})(dict)
        yield SimpleNamespace(Shelf=Shelf, Tag=Tag, Book=Book, Novel=Novel, Proxy=Proxy, Uuid=Uuid)
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(tables):
                editor.delete_model(model)
        for name in [*(m._meta.model_name for m in (*tables, Proxy)), "book_tags", "book_friends"]:
            del apps.all_models["myapp"][name]
        apps.clear_cache()


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


# -- test cases ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=False)
def test_test_case__transaction_of_the_project_is_judged_at_its_end(make_post: Any, raising: None) -> None:
    post = make_post()

    def write() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")

    assert "an UPDATE at" in found(write)
    with transaction.atomic():
        Post.objects.update(title="New")
        invalidate_for(post)
    Post.objects.bulk_update([post], ["title"])
    with transaction.atomic():
        Group.objects.create(name="a")
    invalidate_for(post)
    assert found() == ""


@pytest.mark.django_db(transaction=False)
def test_test_case__writes_outside_of_a_transaction_are_found_by_a_check(
    make_post: Any, raising: None
) -> None:
    make_post()
    Post.objects.update(title="New")
    assert "an UPDATE at" in found()


def test_no_bypass__raises_at_its_end_and_leaves_nothing(make_post: Any) -> None:
    make_post()
    with pytest.raises(BypassError), no_bypass():
        Post.objects.update(title="New")
    with no_bypass():
        pass
    assert bypass.mode() == "off"
    with pytest.raises(ZeroDivisionError), no_bypass():
        Post.objects.update(title="New")
        _ = 1 / 0
    with no_bypass():
        pass


@pytest.mark.parametrize("base", [TestCase, TransactionTestCase])
def test_no_bypass__in_a_test_case_of_django(base: Any) -> None:
    class Own(base):  # type: ignore[misc]
        def setUp(self) -> None:
            warm("groups", name="groups", depends_on=[Group])(lambda: 1)
            self.enterContext(no_bypass())

        def tearDown(self) -> None:
            jobs.unregister("groups")

        def test_right(self) -> None:
            Group.objects.create(name="a").delete()

        def test_wrong(self) -> None:
            Group.objects.create(name="a")
            Group.objects.update(name="b")

    outcome = unittest.TestResult()
    unittest.TestSuite([Own("test_right"), Own("test_wrong")]).run(outcome)
    ((failed, trace),) = outcome.errors
    assert failed.id().endswith("test_wrong")
    assert "BypassError: The table 'auth_group' was changed by an UPDATE" in trace


# -- what happens then -----------------------------------------------------------------------


def test_warn__warns_at_the_place_and_logs(
    make_post: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_BYPASS = "warn"
    make_post()
    keys = cached("popular_posts")
    with pytest.warns(BypassWarning, match="The table 'myapp_post'") as warned, transaction.atomic():
        Post.objects.update(title="New")
    assert gone(*keys) == set()
    assert warned[0].filename == __file__
    assert "Post.objects.update" in Path(__file__).read_text().splitlines()[warned[0].lineno - 1]
    assert Post.objects.get().title == "New"
    (record,) = [each for each in caplog.records if each.name == "warmer.bypass"]
    assert record.levelno == logging.WARNING
    assert "The table 'myapp_post'" in record.message


def test_warn__that_python_makes_an_error_is_raised_before_the_commit(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "warn"
    post = make_post()
    with warnings.catch_warnings():
        warnings.simplefilter("error", BypassWarning)
        with pytest.raises(BypassWarning), transaction.atomic():
            Post.objects.update(title="New")
    assert Post.objects.get().title == post.title


def test_invalidate__whole_jobs_after_the_commit(
    make_post: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}", "post:999", f"user:{post.author_id}:profile")
    with transaction.atomic():
        Post.objects.update(title="New")
        assert gone(*keys) == set()
        assert not caplog.records
    assert gone(*keys) == set(keys[:3])
    assert "All of their keys are invalidated." in caplog.text
    cached(*keys)
    with pytest.raises(Rollback), transaction.atomic():
        Post.objects.update(title="New")
        raise Rollback
    assert gone(*keys) == set()


def test_invalidate__before_a_callback_of_the_project_that_fails(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}")

    def fail() -> None:
        raise Rollback

    with pytest.raises(Rollback), transaction.atomic():
        transaction.on_commit(fail)
        Post.objects.update(title="New")
    assert gone(*keys) == set(keys)


def test_invalidate__in_autocommit_does_not_wait_long(
    make_post: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached("popular_posts", f"post:{post.pk}")
    Post.objects.update(title="New")
    Group.objects.create(name="a")
    assert gone(*keys) == set()
    # The module's own name for it: whatever is imported meanwhile would keep a changed `time.monotonic`.
    monkeypatch.setattr(events, "time", SimpleNamespace(monotonic=lambda: 1e12))
    with pytest.raises(Rollback), transaction.atomic():
        Group.objects.create(name="b")
        assert gone(*keys) == set(keys)  # also when what is written next is rolled back
        raise Rollback
    assert gone(*keys) == set(keys)


def test_invalidate__what_is_matched_is_left_alone(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "invalidate"
    post = make_post()
    keys = cached(f"post:{post.pk}", "post:999")
    with transaction.atomic():
        Post.objects.update(title="New")
        invalidate_for(post)
    POSTS.update(title="Newer")
    bypass.check()
    assert gone(*keys) == {keys[0]}


def test_off__watches_nothing(make_post: Any, settings: Any) -> None:
    settings.WARMER_BYPASS = "raise"
    assert watch_of(connections["default"]) is not None
    settings.WARMER_BYPASS = "off"
    assert watch_of(connections["default"]) is None
    assert connection.execute_wrappers == []
    assert "commit" not in vars(connections["default"])
    make_post()
    with transaction.atomic():
        Post.objects.update(title="New")
    bypass.check()


@pytest.mark.parametrize(
    ("debug", "said", "mode"),
    [(True, "", "warn"), (False, "", "off"), (True, "off", "off"), (False, "raise", "raise")],
)
def test_setting__default_is_of_debug(settings: Any, debug: bool, said: str, mode: str) -> None:
    settings.DEBUG = debug
    settings.WARMER_BYPASS = said
    assert bypass.mode() == mode
    assert (watch_of(connections["default"]) is None) == (mode == "off")


def test_setting__that_is_none_of_the_four(settings: Any) -> None:
    settings.WARMER_BYPASS = "shout"
    with pytest.raises(ImproperlyConfigured, match="'shout': expected one of 'off', 'warn', 'raise'"):
        bypass.follow_settings()


# -- costs -----------------------------------------------------------------------------------


def test_connection__new_ones_are_watched_once(raising: None) -> None:
    connection.close()
    Group.objects.count()
    assert len(connection.execute_wrappers) == 1
    connection.close()
    with connection.execute_wrapper(lambda execute, *args: execute(*args)):
        Group.objects.count()
    assert len(connection.execute_wrappers) == 1
    Group.objects.count()


def test_connection__wrapped_while_it_opens_keeps_its_watch(raising: None) -> None:
    """Django takes the last wrapper away when its block ends, whichever it is."""
    fresh = connection.copy()
    counted: list[str] = []
    try:
        with fresh.execute_wrapper(lambda execute, sql, *rest: counted.append(sql) or execute(sql, *rest)):
            fresh.cursor().execute("SELECT 1")
        before = len(counted)
        fresh.cursor().execute("SELECT 2")
        assert len(counted) == before > 0
        assert watch_of(fresh) is not None
        assert len(fresh.execute_wrappers) == 1
    finally:
        fresh.close()


def test_connection__watched_is_let_go(raising: None) -> None:
    fresh = connection.copy()
    fresh.cursor().execute("SELECT 1")
    assert watch_of(fresh) is not None
    gone_with = weakref.ref(fresh)
    fresh.close()
    del fresh
    gc.collect()
    assert gone_with() is None


def test_transaction__long_one_keeps_little(make_post: Any, raising: None) -> None:
    post = make_post()
    watch = watch_of(connections["default"])
    assert watch is not None
    with transaction.atomic():
        for _ in range(50):
            post.save()
            Comment.objects.filter(pk=0).update(body="x")
        for _ in range(50):
            Post.objects.update(title="New")
        invalidate_for(post)
        assert len(watch.journal._inside) < 10
    post.save()
    with transaction.atomic():
        post.save()
        assert len(watch.journal._inside) < 10
    assert watch.journal._open == []


def test_queries__are_not_more(make_post: Any, raising: None, django_assert_num_queries: Any) -> None:
    post = make_post()
    with django_assert_num_queries(1):
        post.save()
    with django_assert_num_queries(1):
        Post.objects.update(title="New")
    bypass.forget()
