"""Processes that declare other jobs or reach another cache: none swallows the changes that another needs."""

from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction

from myapp.models import Post
from tests.support.processes import run_code
from warmer.invalidation import Relay, backlog
from warmer.invalidation.records import fingerprint
from warmer.models import ChangeRecord

pytestmark = pytest.mark.django_db(transaction=True)

PROCESS = """
from django.conf import settings
settings.CACHES["default"]["KEY_PREFIX"] = {prefix!r}
import django
django.setup()
from django.db import transaction
from myapp.models import Post
from users.models import CustomUser
from warmer import jobs
from warmer.invalidation import Relay
for name in {without!r}:
    jobs.unregister(name)
"""
ANOTHER_CACHE = {"prefix": "another", "without": []}
OLD_RELEASE = {"prefix": "", "without": ["posts"]}
WITHOUT_USERS = {"prefix": "", "without": ["user_profiles"]}

others = pytest.mark.parametrize("other", [ANOTHER_CACHE, OLD_RELEASE], ids=["another cache", "old release"])


@pytest.fixture
def post(make_post: Any) -> Any:
    made = make_post()
    Relay().poll()  # the tests before may have left something
    ChangeRecord.objects.all().delete()
    cache.set(f"post:{made.pk}", "old")
    return made


@others
def test_other_fingerprint__what_it_applied_is_applied_once_more(post: Post, other: Any) -> None:
    relay = Relay()
    relay.poll()
    update = "Post.objects.filter(pk={pk}).update(title='New')"
    assert run_code((PROCESS + update).format(pk=post.pk, **other)).returncode == 0
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
    change = """
with transaction.atomic():
    CustomUser.objects.filter(pk={user}).update(email="new@example.org")
    Post.objects.filter(pk={pk}).update(title="New")
Relay().poll()
"""
    change = (PROCESS + change).format(pk=post.pk, user=post.author_id, **WITHOUT_USERS)
    assert run_code(change).returncode == 0
    assert (backlog().by_job, backlog().count) == ({"user_profiles": 1}, 1)
    assert cache.get(key) == "old"
    Relay().poll()
    assert cache.get(key) is None
    assert backlog().count == 0


@others
def test_own_change__that_another_fingerprint_marks_first_is_applied_at_the_commit(post: Post, other: Any) -> None:
    mark = (PROCESS + "Relay().poll()").format(pk=0, **other)
    with transaction.atomic():
        transaction.on_commit(lambda: run_code(mark))
        Post.objects.filter(pk=post.pk).update(title="New")
    assert ChangeRecord.objects.exclude(applied_at=None).exists()
    assert cache.get(f"post:{post.pk}") is None
