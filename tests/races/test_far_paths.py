"""Rows between a changed row and its job's ids, which another transaction changes while ours is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.signals import pre_save
from django.test.utils import CaptureQueriesContext

from myapp.models import Comment, Post
from tests.races.conftest import in_thread, while_ours_is_open
from users.models import CustomUser
from warmer import invalidate_for, jobs, warm_many
from warmer.changes import NO_IDS
from warmer.far_rows import elsewhere
from warmer.invalidation import record_all
from warmer.models import PendingInvalidation
from warmer.querysets import WarmingQuerySet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

COMMENTS = WarmingQuerySet(Comment)


@pytest.fixture
def said() -> Any:
    """A job of authors' ids: what was said about their posts."""

    def load(ids: Any) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {id: [] for id in ids}
        rows = Comment.objects.filter(post__author__in=ids).order_by("pk")
        for author, body in rows.values_list("post__author", "body"):
            found[author].append(body)
        return found

    depends_on = {Comment: "post__author_id", Post: "author_id"}
    return warm_many("said:{id}", ids=list, name="said", depends_on=depends_on)(load)


def move_and_read(post: Post, author: CustomUser, said: Any, ids: list[int]) -> None:
    """Give a post to another author, as another process does; and readers come."""
    theirs = Post.objects.get(pk=post.pk)
    theirs.author = author
    theirs.save()
    said.get_many(ids)


def by_save(comment: Comment) -> None:
    comment.body = "new"
    comment.save()


def by_save_of_fields(comment: Comment) -> None:
    comment.body = "new"
    comment.save(update_fields=["body"])


def by_update(comment: Comment) -> None:
    COMMENTS.filter(pk=comment.pk).update(body="new")


def by_bulk_update(comment: Comment) -> None:
    comment.body = "new"
    COMMENTS.bulk_update([comment], ["body"])


def by_hand(comment: Comment) -> None:
    Comment.objects.filter(pk=comment.pk).update(body="new")
    comment.refresh_from_db()
    invalidate_for(comment)


def by_create(comment: Comment) -> None:
    Comment.objects.create(post=comment.post, author=comment.author, body="another")


def by_delete(comment: Comment) -> None:
    comment.delete()


def by_delete_of_a_queryset(comment: Comment) -> None:
    Comment.objects.filter(pk=comment.pk).delete()


def by_delete_of_ours(comment: Comment) -> None:
    COMMENTS.filter(pk=comment.pk).delete()


def by_bulk_create(comment: Comment) -> None:
    COMMENTS.bulk_create([Comment(post=comment.post, author=comment.author, body="another")])


def by_bulk_create_past_conflicts(comment: Comment) -> None:
    made = Comment(post=comment.post, author=comment.author, body="another")
    COMMENTS.bulk_create([comment, made], ignore_conflicts=True)


def by_bulk_create_over_conflicts(comment: Comment) -> None:
    comment.body = "new"
    COMMENTS.bulk_create([comment], update_conflicts=True, update_fields=["body"], unique_fields=["id"])


WAYS = [
    *(by_save, by_save_of_fields, by_update, by_bulk_update, by_hand),
    *(by_create, by_delete, by_delete_of_a_queryset, by_delete_of_ours),
    *(by_bulk_create, by_bulk_create_past_conflicts, by_bulk_create_over_conflicts),
]


@pytest.mark.parametrize("moved", ["before", "meanwhile", "after"])
@pytest.mark.parametrize("change", WAYS)
def test_far_path__row_between_is_moved_by_another(
    make_post: Any,
    make_user: Any,
    make_comment: Any,
    said: Any,
    change: Callable[[Comment], None],
    moved: str,
) -> None:
    old, new = make_user(), make_user()
    post = make_post(author=old)
    comment = make_comment(post=post, body="old")
    said.get_many([old.pk, new.pk])

    def in_another_transaction() -> None:
        (thread,) = in_thread(lambda: move_and_read(post, new, said, [old.pk, new.pk]))
        thread.join()

    if moved == "before":
        in_another_transaction()
    with transaction.atomic():
        change(comment)
        # SQLite lets nobody else write meanwhile; there it is the next thing that happens.
        if moved == "meanwhile" and connection.vendor == "postgresql":
            in_another_transaction()
    if moved == "after" or connection.vendor != "postgresql":
        in_another_transaction()
    assert said.get_many([old.pk, new.pk]) == said([old.pk, new.pk])
    assert not PendingInvalidation.objects.exists()


def save(comment: Comment, post: Post) -> None:
    comment.post = post
    comment.save()


def save_field(comment: Comment, post: Post) -> None:
    comment.post = post
    comment.save(update_fields=["post"])


def save_expression(comment: Comment, post: Post) -> None:
    comment.post_id = Value(post.pk)  # type: ignore[assignment]
    comment.save()


def update(comment: Comment, post: Post) -> None:
    COMMENTS.filter(pk=comment.pk).update(post=post)


def bulk_update(comment: Comment, post: Post) -> None:
    comment.post = post
    COMMENTS.bulk_update([comment], ["post"])


def move_by_hand(comment: Comment, post: Post) -> None:
    invalidate_for(comment)
    Comment.objects.filter(pk=comment.pk).update(post=post)
    comment.refresh_from_db()
    invalidate_for(comment)


def move_queryset_by_hand(comment: Comment, post: Post) -> None:
    rows = Comment.objects.filter(pk=comment.pk)
    invalidate_for(rows)
    rows.update(post=post)
    invalidate_for(rows)


def delete_by_hand(comment: Comment, post: Post) -> None:
    invalidate_for(Comment.objects.filter(pk=comment.pk))
    Comment.objects.filter(pk=comment.pk)._raw_delete("default")  # type: ignore[attr-defined]


MOVES = [
    save,
    save_field,
    save_expression,
    update,
    bulk_update,
    move_by_hand,
    move_queryset_by_hand,
    delete_by_hand,
]


@dataclass(frozen=True, kw_only=True)
class Said:
    """A comment on one post, to be moved to another; each post is of another author.

    Attributes:
        ids: of these authors, and of a third.
    """

    job: Any
    ids: list[int]
    comment: Comment
    old: Post
    new: Post

    def give_to_the_third(self, post: Post) -> None:
        """Give a post to the third author, as another process does; and readers come."""
        move_and_read(post, CustomUser.objects.get(pk=self.ids[2]), self.job, self.ids)

    def assert_right(self) -> None:
        """Fail if what is cached is not what the database says."""
        assert self.job.get_many(self.ids) == self.job(self.ids)


@pytest.fixture
def moving(make_post: Any, make_user: Any, make_comment: Any, said: Any) -> Said:
    """A comment that is about to be moved, with all that is said of it cached."""
    users = [make_user() for _ in range(3)]
    old, new = make_post(author=users[0]), make_post(author=users[1])
    made = Said(
        job=said,
        ids=[user.pk for user in users],
        comment=make_comment(post=old, body="said"),
        old=old,
        new=new,
    )
    said.get_many(made.ids)
    return made


@pytest.mark.parametrize("moved", ["what_it_referred_to", "what_it_refers_to"])
@pytest.mark.parametrize("move", MOVES)
def test_moved__row_between_is_moved_by_another(moving: Said, move: Any, moved: str) -> None:
    theirs = moving.old if moved == "what_it_referred_to" else moving.new
    while_ours_is_open(lambda: move(moving.comment, moving.new), lambda: moving.give_to_the_third(theirs))
    moving.assert_right()


@pytest.mark.parametrize("move", [save, save_field, save_expression])
def test_moved__in_a_transaction_of_its_own(moving: Said, move: Any) -> None:
    def meanwhile(**_: Any) -> None:
        moving.give_to_the_third(moving.old)

    pre_save.connect(meanwhile, sender=Comment)  # after our look
    try:
        move(moving.comment, moving.new)
    finally:
        pre_save.disconnect(meanwhile, sender=Comment)
    moving.assert_right()


def test_far_path__many_rows_are_asked_for_once_after_the_commit(
    make_post: Any, make_comment: Any, said: Any
) -> None:
    comments = [make_comment(post=make_post()) for _ in range(5)]
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        for comment in comments:
            comment.save()
    told = [each["sql"].split()[0] for each in queries]
    after = told[told.index("COMMIT") + 1 :]
    assert [each for each in after if each not in ("BEGIN", "COMMIT")] == [
        "SELECT",
        "DELETE",
    ]  # of the outbox


def test_far_path__rows_that_give_nothing_before_the_commit_may_do_so_after_it(
    make_post: Any, make_user: Any, make_comment: Any, said: Any
) -> None:
    """A path that leads nowhere when the row is written, and somewhere when it is committed."""
    user = make_user()
    comment = make_comment(post=make_post(author=user))
    said.get(user.pk)
    found = [(concern, NO_IDS) for concern in jobs.concerned(Comment) if concern.spec.name == "said"]
    with transaction.atomic():
        again = elsewhere([concern for concern, _ids in found], Comment, [comment.pk], using="default")
        record_all(found, using="default", again=again)
    assert cache.get(f"said:{user.pk}") is None
