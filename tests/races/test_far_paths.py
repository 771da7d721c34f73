"""Rows between a changed row and its job's ids, which another transaction changes before ours is applied."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from myapp.models import Comment, Post
from tests.support.others import await_end_or_lock, in_thread
from users.models import CustomUser
from warmer import warm_many
from warmer.invalidation import Relay, backlog
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

Through: Any = CustomUser.groups.through
Changes = dict[str, Callable[[Any], object]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job with all of its ids cached, the rows that are changed, and what another changes meanwhile."""

    job: Any
    ids: list[Any]
    rows: tuple[Any, ...]
    theirs: Callable[[], object]

    def theirs_and_readers(self) -> None:
        self.theirs()
        self.job.get_many(self.ids)


def while_open(case: Case, ours: Callable[[], object]) -> None:
    """They commit, or wait for us, before our commit. On SQLite they always wait."""
    with transaction.atomic():
        ours()
        other = in_thread(case.theirs_and_readers)
        await_end_or_lock(other)
    other.join()


def before_it_is_read(case: Case, ours: Callable[[], object]) -> None:
    """They commit after us, and before our records are read."""

    def step_in() -> None:
        other = in_thread(case.theirs_and_readers)
        other.join()

    with transaction.atomic():
        transaction.on_commit(step_in)
        ours()


def before_it_is_applied(case: Case, ours: Callable[[], object]) -> None:
    """They commit when it is known which ids we invalidate."""
    with at("committed", lambda: before_it_is_read(case, lambda: None)), transaction.atomic():
        ours()


MOMENTS = [while_open, before_it_is_read, before_it_is_applied]
at_each_moment = pytest.mark.parametrize("moment", MOMENTS)


def assert_right(case: Case, moment: Any, ours: Callable[[Any], object]) -> None:
    Relay().poll()  # the tests before may have left something
    case.job.get_many(case.ids)
    moment(case, lambda: ours(case.rows))
    assert case.job.get_many(case.ids) == case.job(case.ids)
    assert backlog().count == 0


COMMENTS: Changes = {
    "update": lambda rows: Comment.objects.filter(pk=rows[0].pk).update(body="new"),
    "create": lambda rows: Comment.objects.create(post=rows[1], author=rows[0].author, body="another"),
    "delete": lambda rows: rows[0].delete(),
    "move": lambda rows: Comment.objects.filter(pk=rows[0].pk).update(post=rows[2]),
    "delete of the row between": lambda rows: rows[1].delete(),
}


@at_each_moment
@pytest.mark.parametrize("moved", [1, 2], ids=["what it refers to", "what it is moved to"])
@pytest.mark.parametrize("ours", COMMENTS.values(), ids=COMMENTS)
def test_path__row_between_is_moved(
    make_post: Any, make_user: Any, make_comment: Any, moment: Any, moved: int, ours: Any
) -> None:
    def said(ids: Any) -> dict[int, list[str]]:
        rows = list(Comment.objects.order_by("pk").values_list("post__author", "body"))
        return {id: [body for author, body in rows if author == id] for id in ids}

    job: Any = warm_many("said:{id}", ids=list, name="said", depends_on={Comment: "post__author_id"})(said)
    users = [make_user() for _ in range(3)]
    old, new = make_post(author=users[0]), make_post(author=users[1])
    rows = (make_comment(post=old, body="old"), old, new)
    give = Post.objects.filter(pk=rows[moved].pk).update
    theirs = lambda: give(author=users[2])  # noqa: E731
    assert_right(Case(job=job, ids=[each.pk for each in users], rows=rows, theirs=theirs), moment, ours)


LINKS: Changes = {
    "add": lambda rows: rows[2].user_set.add(rows[1]),
    "remove": lambda rows: rows[0].groups.remove(rows[2]),
    "clear": lambda rows: rows[0].groups.clear(),
    "clear from the other end": lambda rows: rows[2].user_set.clear(),
    "set": lambda rows: rows[2].user_set.set([rows[1]]),
    "deleted end": lambda rows: rows[0].delete(),
}


@at_each_moment
@pytest.mark.parametrize("ours", LINKS.values(), ids=LINKS)
def test_link__its_end_is_renamed(make_user: Any, moment: Any, ours: Any) -> None:
    def members(names: Any) -> dict[str, list[int]]:
        rows = list(Through.objects.order_by("customuser_id").values_list("group__name", "customuser_id"))
        return {name: [user for each, user in rows if each == name] for name in names}

    job: Any = warm_many("in:{id}", ids=list, name="members", depends_on={Through: "group__name"})(members)
    user, other, group = make_user(), make_user(), Group.objects.create(name="old")
    user.groups.add(group)
    rename = Group.objects.filter(pk=group.pk).update
    case = Case(job=job, ids=["old", "new"], rows=(user, other, group), theirs=lambda: rename(name="new"))
    assert_right(case, moment, ours)


@at_each_moment
def test_link__another_links_the_changed_row_to_an_id(make_user: Any, moment: Any) -> None:
    def names(ids: Any) -> dict[int, list[str]]:
        rows = list(CustomUser.objects.order_by("pk").values_list("groups", "first_name"))
        return {id: [name for group, name in rows if group == id] for id in ids}

    job: Any = warm_many("named:{id}", ids=list, name="named", depends_on={CustomUser: "groups"})(names)
    user, group = make_user(first_name="old"), Group.objects.create(name="editors")
    case = Case(job=job, ids=[group.pk], rows=(user,), theirs=lambda: group.user_set.add(user.pk))
    rename = CustomUser.objects.filter(pk=user.pk).update
    assert_right(case, moment, lambda _rows: rename(first_name="new"))
