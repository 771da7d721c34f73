"""Processes that declare other jobs or reach another cache: none swallows the changes that another needs."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection, transaction
from django.test import override_settings

from myapp.models import Post
from tests.support.others import in_a_fork
from users.models import CustomUser
from warmer import jobs
from warmer.invalidation import Relay, backlog
from warmer.invalidation.records import fingerprint
from warmer.models import ChangeRecord

pytestmark = pytest.mark.django_db(transaction=True)


def in_another(action: Callable[[], object], *, prefix: str = "", without: str = "") -> None:
    """Act in another process, which reaches another cache, or does not declare a job."""

    def act() -> None:
        caches = {"default": settings.CACHES["default"] | {"KEY_PREFIX": prefix}}
        with override_settings(CACHES=caches):
            if without:
                jobs.unregister(without)
            action()

    connection.close()  # the child opens its own
    assert in_a_fork(act) == 0


others = pytest.mark.parametrize(
    "other", [{"prefix": "another"}, {"without": "posts"}], ids=["another cache", "old release"]
)


@pytest.fixture
def post(make_post: Any) -> Any:
    """A post of which an old value is cached."""
    made = make_post()
    Relay().poll()  # the tests before may have left something
    ChangeRecord.objects.all().delete()
    cache.set(f"post:{made.pk}", "old")
    return made


def change(post: Post) -> None:
    Post.objects.filter(pk=post.pk).update(title="New")


@others
def test_other_fingerprint__what_it_applied_is_applied_once_more(post: Post, other: Any) -> None:
    relay = Relay()
    relay.poll()
    in_another(lambda: change(post), **other)
    (marked_by,) = ChangeRecord.objects.exclude(applied_at=None).values_list("applied_by", flat=True)
    assert marked_by not in ("", fingerprint())
    assert cache.get(f"post:{post.pk}") == "old"

    assert relay.poll() == 1

    assert cache.get(f"post:{post.pk}") is None
    assert relay.poll() == 0
    assert backlog().count == 0


def test_other_fingerprint__source_that_it_does_not_know_is_not_marked(post: Post) -> None:
    key = f"user:{post.author_id}:profile"
    cache.set(key, "old")

    def change_both() -> None:
        with transaction.atomic():
            CustomUser.objects.filter(pk=post.author_id).update(email="new@example.org")
            change(post)
        Relay().poll()

    in_another(change_both, without="user_profiles")
    assert (backlog().by_job, backlog().count) == ({"user_profiles": 1}, 1)
    assert cache.get(key) == "old"
    Relay().poll()
    assert cache.get(key) is None
    assert backlog().count == 0


@others
def test_own_change__that_another_fingerprint_marks_first_is_applied_at_the_commit(post: Post, other: Any) -> None:
    with transaction.atomic():
        transaction.on_commit(lambda: in_another(lambda: Relay().poll(), **other))
        change(post)
    assert ChangeRecord.objects.exclude(applied_at=None).exists()
    assert cache.get(f"post:{post.pk}") is None
