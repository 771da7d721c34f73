"""What a transaction costs grows with its changes, and not with their square."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

import warmer
from myapp.models import Comment, Post
from tests.support.keyed import job as declare

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

PACKAGE = warmer.__path__[0]


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the lines of the package that run in a block, and its queries."""
    count = Counter[str]()

    def on_line(frame: FrameType, event: str, _argument: Any) -> Any:
        count["lines"] += event == "line"
        return on_line

    def on_call(frame: FrameType, _event: str, _argument: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    before = sys.gettrace()
    with CaptureQueriesContext(connection) as queries:
        sys.settrace(on_call)
        try:
            yield count
        finally:
            sys.settrace(before)
    count["queries"] = len(queries)


def saved(post: Post, times: int) -> None:
    with transaction.atomic():
        for _ in range(times):
            with transaction.atomic():
                post.save()


def rolled_back(post: Post, times: int) -> None:
    with transaction.atomic():
        for _ in range(times):
            with suppress(ValueError), transaction.atomic():
                post.save()
                raise ValueError
        post.save()


def deleted(post: Post, times: int) -> None:
    Comment.objects.bulk_create(Comment(post=post, author=post.author, body="x") for _ in range(times))
    post.delete()


@pytest.mark.parametrize("change", [saved, rolled_back, deleted])
def test_cost__of_twice_as_many_changes_is_about_twice_as_much(
    change: Callable[[Post, int], None], make_post: Any
) -> None:
    declare("linear:{id}", {Post: "id", Comment: "post_id"})
    costs = []
    for times in (50, 50, 100):  # the first has what is done once in a process
        post = make_post()
        with counted() as count:
            change(post, times)
        costs.append(count)
    _, once, twice = costs
    assert once["lines"] > 50
    assert twice["lines"] < 2.2 * once["lines"]
    assert twice["queries"] < 2.2 * once["queries"]
