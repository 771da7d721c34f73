"""Rows that are saved, created, moved and deleted: which keys go, for how many queries."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import post_save, pre_delete

from myapp.models import Comment, Post
from tests.support.keyed import cached, gone, gone_by, waiting
from tests.support.keyed import job as declare
from tests.support.tables import OwnModel, queries_of, tables_of
from warmer.invalidation import captures_by_triggers
from warmer.invalidation.receivers import UID, listen

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.parametrize("in_atomic", [False, True])
@pytest.mark.parametrize("way", ["save", "save of other fields", "delete"])
def test_row__that_another_process_has_moved(make_post: Any, make_comment: Any, in_atomic: bool, way: str) -> None:
    """The instance in memory says A -> C, but its row was at B."""
    a, b, c = make_post(), make_post(), make_post()
    comment = make_comment(post=a)
    Comment.objects.filter(pk=comment.pk).update(post=b)
    comment.post = c
    keys = cached(*(f"post:{post.pk}" for post in (a, b, c)))
    with transaction.atomic() if in_atomic else nullcontext():
        if way == "delete":
            comment.delete()
        else:
            comment.save(update_fields=None if way == "save" else ["body"])
    assert gone(*keys) >= {*(keys[1:] if way == "save" else keys[1:2])}
    assert keys[0] not in gone(*keys)


@pytest.mark.parametrize("fields", [["title"], ["author"], None], ids=["title", "author", "all"])
def test_save__asks_at_most_once_what_the_row_has(make_post: Any, fields: Any) -> None:
    declare("author:{id}:posts", {Post: "author_id"})
    post = make_post()
    (key,) = cached(f"author:{post.author_id}:posts")
    with queries_of(Post) as queries:
        post.save(update_fields=fields)
    assert len(queries) == (1 if captures_by_triggers() else 2)
    assert gone(key) == {key}


@pytest.fixture
def raising_receiver() -> Iterator[None]:
    """A receiver of the project that raises, and that was connected before ours: as in a models.py."""

    def raises(**_: Any) -> None:
        raise RuntimeError("the mail server is away")

    post_save.disconnect(sender=Post, dispatch_uid=UID)
    post_save.connect(raises, sender=Post)
    listen()
    yield
    post_save.disconnect(raises, sender=Post)


@pytest.mark.usefixtures("raising_receiver")
@pytest.mark.parametrize("in_atomic", [False, True])
def test_save__invalidates_with_triggers_even_if_an_earlier_receiver_raises(make_post: Any, in_atomic: bool) -> None:
    with pytest.raises(RuntimeError):
        make_post(title="old")
    post = Post.objects.get()
    (key,) = cached(f"post:{post.pk}")
    post.title = "new"
    with transaction.atomic() if in_atomic else nullcontext(), pytest.raises(RuntimeError):
        post.save()
    assert Post.objects.get().title == "new"
    assert gone(key) == ({key} if captures_by_triggers() else set())
    assert waiting() == []


def test_listen__again_is_heard_once() -> None:
    before = [each for each in post_save.receivers if each[0] == (UID, id(Post))]
    assert before
    listen()
    assert [each for each in post_save.receivers if each[0] == (UID, id(Post))] == before


def test_delete__stays_fast_with_triggers_or_without_a_job(make_post: Any) -> None:
    """Django reads the rows of a model before it deletes them where somebody listens."""
    assert not pre_delete.has_listeners(Session)
    make_post()  # the first signal shows that there are triggers
    assert pre_delete.has_listeners(Post) is not captures_by_triggers()


def test_proxy__is_its_model(make_post: Any) -> None:
    class PostInReview(Post):
        class Meta(OwnModel.Meta):
            proxy = True

    with tables_of(PostInReview):
        declare("proxied:{id}", {PostInReview: "id"})
        post = make_post()
        keys = [f"proxied:{post.pk}", f"post:{post.pk}"]
        assert gone_by(keys, PostInReview.objects.get(pk=post.pk).save) == set(keys)
