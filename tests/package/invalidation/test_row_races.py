"""Rows that another transaction moves, or adds, while they are being saved or deleted: whose ids go.

With triggers only: signals tell what was read before a change, which another may change meanwhile.
"""

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import ModelSignal, m2m_changed, pre_delete, pre_save

from myapp.models import Comment, Post
from tests.support.keyed import cached, gone, job
from tests.support.others import await_end_or_lock, in_thread
from users.models import CustomUser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

Through: Any = CustomUser.groups.through
Meanwhile = Callable[[Callable[[], object], Callable[[], object]], None]


@pytest.fixture
def meanwhile() -> Iterator[Meanwhile]:
    """Return a function that lets another thread act after Django's signals of our change, and before it."""
    threads: list[Thread] = []
    signals: list[tuple[ModelSignal, type[Model]]] = [
        *((pre_save, Comment), (pre_delete, Comment)),
        (m2m_changed, Through),
    ]

    def run(ours: Callable[[], object], theirs: Callable[[], object]) -> None:
        def receive(sender: type[Model], **options: Any) -> None:
            if not threads and options.get("action", "pre_remove") in ("pre_remove", "pre_clear"):
                threads.append(in_thread(theirs))
                await_end_or_lock(threads[0])

        for signal, sender in signals:
            signal.connect(receiver=receive, sender=sender, weak=False, dispatch_uid="meanwhile")
        ours()
        threads[0].join()

    yield run
    for signal, sender in signals:
        signal.disconnect(sender=sender, dispatch_uid="meanwhile")


def move_and_save(comment: Comment) -> None:
    comment.post = Post.objects.latest("pk")
    with transaction.atomic():
        comment.save()


CHANGES: dict[str, Callable[[Comment], object]] = {
    "delete": lambda comment: comment.delete(),
    "delete of a queryset": lambda comment: QuerySet(Comment).filter(post=comment.post).delete(),
    "cascade": lambda comment: comment.post.delete(),
    "cascade of a queryset": lambda comment: Post.objects.filter(pk=comment.post_id).delete(),
    "save": move_and_save,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("path", ["post_id", "post__author_id"])
def test_race__row_that_another_moves(
    path: str, change: Any, meanwhile: Meanwhile, make_post: Any, make_comment: Any
) -> None:
    a, b, _ = make_post(), make_post(), make_post()
    comment = make_comment(post=a)
    job("of:{id}", {Comment: path})
    key = f"of:{b.pk if path == 'post_id' else b.author_id}"

    def move() -> None:
        if QuerySet(Comment).filter(pk=comment.pk).update(post=b):
            cached(key)  # as by a reader, who finds the row there

    meanwhile(lambda: change(comment), move)
    # Django deletes some rows by a condition, which one that was moved does not meet.
    assert Comment.objects.filter(post=b).exists() or gone(key) == {key}


UNLINKS: dict[str, Callable[[Any, Any], object]] = {
    "remove": lambda user, group: user.groups.remove(group),
    "clear": lambda user, group: user.groups.clear(),
    "reverse remove": lambda user, group: group.user_set.remove(user),
    "reverse clear": lambda user, group: group.user_set.clear(),
}


@pytest.mark.parametrize("unlink", UNLINKS.values(), ids=UNLINKS)
def test_race__link_that_another_adds(unlink: Any, meanwhile: Meanwhile, make_user: Any) -> None:
    user, group = make_user(), Group.objects.create(name="editors")
    job("user:{id}", {Through: "customuser_id"})
    job("group:{id}", {Through: "group_id"})
    keys = [f"user:{user.pk}", f"group:{group.pk}"]

    def add() -> None:
        CustomUser.objects.get(pk=user.pk).groups.add(group)
        cached(*keys)  # as by a reader, who finds the row there

    meanwhile(lambda: unlink(user, group), add)
    assert Through.objects.exists() or gone(*keys) == {*keys}
