"""Django's own test cases: one is a transaction that is never committed, the other flushes the database."""

from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import connection

from myapp.models import Comment, Post
from tests.support.keyed import titles
from warmer import warm_many
from warmer.invalidation import apply, triggers

pytestmark = pytest.mark.usefixtures("own_jobs")


@pytest.fixture(name="titles")
def _titles() -> Any:
    return titles(depends_on={Post: "id"})


@pytest.mark.django_db
def test_test_case__captures_in_each_block_whose_callbacks_it_runs(
    titles: Any, make_post: Any, django_capture_on_commit_callbacks: Any
) -> None:
    words: Any = warm_many("words:{id}", ids=list, name="words", depends_on={Comment: "post_id"})(
        lambda ids: {id: Comment.objects.filter(post=id).count() for id in ids}
    )
    post, floor = make_post(title="old"), apply.floors["default"]
    titles.warm([post.pk])
    assert cache.get(titles.key(post.pk)) is None, "what its transaction changed is not stored"
    for title in ("one", "two", "three"):
        cache.set(titles.key(post.pk), "old")
        with django_capture_on_commit_callbacks(execute=True):
            Post.objects.filter(pk=post.pk).update(title=title)
            Post.objects.filter(pk=post.pk).update(body=title)
        assert cache.get(titles.key(post.pk)) is None
        assert titles.get(post.pk) == title
    assert (words.get(post.pk), cache.get(words.key(post.pk))) == (0, 0), "what it did not change is stored"
    assert apply.floors["default"] == floor, "its records are rolled back; SQLite uses their numbers again"


@pytest.mark.django_db(transaction=True)
def test_flush__between_tests_leaves_the_triggers(titles: Any, make_post: Any) -> None:
    post = make_post(title="old")
    titles.warm([post.pk])
    call_command(
        flush.Command(),  # Django's, not the suite's own
        verbosity=0,
        interactive=False,
        reset_sequences=False,
        allow_cascade=False,
        inhibit_post_migrate=False,
    )
    if connection.vendor == "postgresql":  # on SQLite it may delete the records of its own deletes
        assert cache.get(titles.key(post.pk)) is None
    assert triggers.problems("default") == []
    post = make_post(title="old")
    titles.warm([post.pk])
    Post.objects.update(title="new")
    assert cache.get(titles.key(post.pk)) is None
