"""Rows that another transaction moves, or adds, while they are being saved or deleted: whose ids go.

With triggers only: signals tell what was read before a change, which another may change meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from django.db.models.signals import ModelSignal, m2m_changed, pre_delete, pre_save

from myapp.models import Comment, Post
from tests.support.keyed import by_function, cached, gone, job
from tests.support.others import await_end_or_lock, in_thread
from users.models import CustomUser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

Moment = Callable[[Callable[[], object]], None]

WAYS: dict[str, Callable[[Any], object]] = {
    "instance": lambda comment: comment.delete(),
    "queryset": lambda comment: QuerySet(Comment).filter(post=comment.post).delete(),
    "cascade": lambda comment: comment.post.delete(),
    "cascade of a queryset": lambda comment: Post.objects.filter(pk=comment.post_id).delete(),
}
JOBS: dict[str, Callable[[], Any]] = {
    "column": lambda: job("of:{id}", {Comment: "post_id"}),
    "path": lambda: job("of:{id}", {Comment: "post__author_id"}),
    "function": lambda: by_function("of:{id}", Comment, lambda comment: comment.post_id, "post"),
}


@pytest.fixture
def after_the_read(monkeypatch: pytest.MonkeyPatch) -> Moment:
    """Let something happen after Django has read which rows it deletes, and before its signals."""

    def let(action: Callable[[], object]) -> None:
        def act_then_delete(self: Any) -> Any:
            monkeypatch.undo()
            action()
            return delete(self)

        delete = Collector.delete
        monkeypatch.setattr(Collector, "delete", act_then_delete)

    return let


@pytest.fixture
def before_the_change() -> Iterator[Moment]:
    """Let another thread do something after Django's signals, and before the rows are changed."""
    threads: list[Thread] = []
    actions: list[Callable[[], object]] = []

    def receive(sender: type[Model], **options: Any) -> None:
        if not threads and options.get("action", "pre_remove") in ("pre_remove", "pre_clear"):
            threads.append(in_thread(actions[0]))
            await_end_or_lock(threads[0])

    signals: list[tuple[ModelSignal, type[Model]]] = [
        (pre_save, Comment),
        (pre_delete, Comment),
        (m2m_changed, CustomUser.groups.through),
    ]

    def end() -> None:
        for thread in threads:
            thread.join()

    def let(action: Callable[[], object]) -> None:
        actions.append(action)
        for signal, sender in signals:
            signal.connect(receive, sender=sender, dispatch_uid="before_the_change")

    let.end = end  # type: ignore[attr-defined]
    try:
        yield let
    finally:
        end()
        for signal, sender in signals:
            signal.disconnect(sender=sender, dispatch_uid="before_the_change")


@pytest.mark.parametrize("declare", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("moment", ["after_the_read", "before_the_change"])
def test_race__row_that_another_moves_goes_from_where_it_is_deleted(
    moment: str, way: Any, declare: Any, make_post: Any, make_comment: Any, request: pytest.FixtureRequest
) -> None:
    a, b = make_post(), make_post()
    comment = make_comment(post=a)
    declare()
    key = f"of:{b.author_id if declare is JOBS['path'] else b.pk}"
    let = request.getfixturevalue(moment)

    def move() -> None:
        if QuerySet(Comment).filter(pk=comment.pk).update(post=b):
            cached(key)  # as by a reader, who finds the row there

    let(move)
    way(comment)
    if moment == "before_the_change":
        let.end()
    # Django deletes some rows by a condition, which one that was moved does not meet.
    assert Comment.objects.exists() or gone(key) == {key}


@pytest.mark.parametrize("declare", JOBS.values(), ids=JOBS)
def test_race__row_that_another_moves_while_we_save_it(
    declare: Any, make_post: Any, make_comment: Any, before_the_change: Any
) -> None:
    a, b, c = make_post(), make_post(), make_post()
    comment = make_comment(post=a)
    declare()
    key = f"of:{b.author_id if declare is JOBS['path'] else b.pk}"

    def move() -> None:
        QuerySet(Comment).filter(pk=comment.pk).update(post=b)
        cached(key)  # as by a reader, who finds the row there

    before_the_change(move)
    comment.post = c
    with transaction.atomic():
        comment.save()
    before_the_change.end()
    comment.refresh_from_db()
    assert comment.post == b or gone(key) == {key}


@pytest.mark.parametrize("end", ["user", "group"])
@pytest.mark.parametrize("way", ["remove", "clear", "reverse remove", "reverse clear"])
def test_race__many_to_many_row_that_another_adds(
    way: str, end: str, make_user: Any, before_the_change: Any
) -> None:
    through = CustomUser.groups.through
    user, group = make_user(), Group.objects.create(name="editors")
    job("end:{id}", {through: "customuser_id" if end == "user" else "group_id"})
    key = f"end:{user.pk if end == 'user' else group.pk}"

    def add() -> None:
        CustomUser.objects.get(pk=user.pk).groups.add(group)
        cached(key)  # as by a reader, who finds the row there

    before_the_change(add)
    match way:
        case "remove":
            user.groups.remove(group)
        case "clear":
            user.groups.clear()
        case "reverse remove":
            group.user_set.remove(user)
        case "reverse clear":
            group.user_set.clear()
    before_the_change.end()
    assert through.objects.exists() or gone(key) == {key}
