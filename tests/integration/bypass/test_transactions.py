"""Writes in a transaction are judged before its commit, by what was told in it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from myapp.models import Post
from tests.integration.bypass.finding import found
from tests.integration.keyed import cached, gone
from tests.integration.transactions import Rollback
from warmer import invalidate_for, jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


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
