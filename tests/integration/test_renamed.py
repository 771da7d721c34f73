"""Two releases side by side, of which the newer gave a job another name, or another key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from myapp.models import Post
from warmer import jobs, leftovers, warm, warm_many
from warmer.models import PendingInvalidation
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

Declare = Callable[..., Any]


def titles(name: str, key: str = "title:{id}") -> Any:
    return warm_many(key, ids=list, name=name, depends_on={Post: "id"})(
        lambda ids: dict(Post.objects.filter(pk__in=ids).values_list("pk", "title"))
    )


def count(name: str, key: str = "count") -> Any:
    return warm(key, name=name, depends_on=[Post])(lambda: Post.objects.filter(title="new").count())


def released(declare: Declare, **options: Any) -> Any:
    """Return the job as the old release has it; this process goes on with the new one."""
    job = declare("old_name", **options)
    jobs.unregister("old_name")
    return job


@pytest.fixture(params=["redis", "locmem"])
def _each_cache(request: pytest.FixtureRequest, settings: Any) -> None:
    if request.param == "locmem":
        settings.CACHES = LOCMEM


@pytest.mark.usefixtures("_each_cache")
def test_renamed__old_code_invalidates_while_new_code_fills(make_post: Any) -> None:
    post = make_post(title="old")
    before = released(titles)
    job = titles("new_name")

    def change_by_old_code() -> None:
        Post.objects.filter(pk=post.pk).update(title="new")
        before.invalidate([post.pk])

    with at("loaded", change_by_old_code, job="new_name"):
        job.warm([post.pk])
    assert cache.get(f"title:{post.pk}") in (None, "new")


@pytest.mark.usefixtures("_each_cache")
def test_renamed__single_job(make_post: Any) -> None:
    post = make_post(title="old")
    before = released(count)
    job = count("new_name")

    def change_by_old_code() -> None:
        Post.objects.filter(pk=post.pk).update(title="new")
        before.invalidate()

    with at("loaded", change_by_old_code, job="new_name"):
        job.warm()
    assert cache.get("count") in (None, 1)


def test_fence__is_named_by_the_key(redis_client: Redis, settings: Any) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": "site"}}
    keyed, single = titles("first"), count("second")
    keyed.spec.store.token()
    single.spec.store.token()
    assert set(redis_client.keys()) == {b"site:warmer-fence:title:*", b"site:warmer-fence:count"}


def bare_key(key: str, prefix: str, version: int) -> str:
    """A project's own `KEY_FUNCTION`, which leaves the version out."""
    return f"{prefix}:{key}"


def test_fence__is_no_key_of_the_job_however_keys_are_made(make_post: Any, settings: Any) -> None:
    changed = {"KEY_FUNCTION": f"{__name__}.bare_key"}
    settings.CACHES = {"default": {**settings.CACHES["default"], **changed}}
    job = warm("count", name="count", max_batches_per_second=1000)(lambda: 7)
    assert job.warm().written == 1
    assert job.get() == cache.get("count") == 7
    job.invalidate()
    assert cache.get("count") is None


def test_kept__is_applied_by_the_job_that_has_the_key_now(make_post: Any, redis_server: RedisServer) -> None:
    post = make_post()
    titles("old_name")
    count("old_count")
    redis_server.stop()
    with transaction.atomic():
        post.save()
    (row,) = PendingInvalidation.objects.all()
    kept_keys = {"old_name": "title:{id}", "old_count": "count"}
    assert kept_keys.items() <= row.keys.items()
    redis_server.start()
    jobs.unregister("old_name")
    jobs.unregister("old_count")
    titles("new_name")
    count("new_count")
    cache.set_many({f"title:{post.pk}": "old", "title:0": "other", "count": 0})
    assert leftovers.apply_kept() == 1
    assert cache.get_many([f"title:{post.pk}", "title:0", "count"]) == {"title:0": "other"}
    assert not PendingInvalidation.objects.exists()


def test_kept__for_a_key_of_other_code_is_left_for_it_and_the_rest_applied_once() -> None:
    """The name alone does not tell: the old release's keys are still read by it."""
    titles("titles", key="v2:title:{id}")
    count("count")
    PendingInvalidation.objects.create(
        jobs={"titles": [1], "count": None}, keys={"titles": "title:{id}", "count": "count"}
    )
    cache.set_many({"title:1": "old", "count": 0})
    assert leftovers.apply_kept() == 0
    assert cache.get_many(["title:1", "count"]) == {"title:1": "old"}
    (row,) = PendingInvalidation.objects.all()
    assert row.jobs == {"titles": [1]}
    cache.set("count", 5)
    PendingInvalidation.objects.update(due_at=timezone.now())
    leftovers.apply_kept()
    assert cache.get("count") == 5
    long_ago = timezone.now() - timedelta(days=2)
    PendingInvalidation.objects.update(recorded_at=long_ago, due_at=long_ago)
    leftovers.apply_kept()
    assert not PendingInvalidation.objects.exists()


def test_kept__of_swapped_names_follows_the_keys() -> None:
    titles("one", key="b:{id}")
    titles("other", key="a:{id}")
    PendingInvalidation.objects.create(jobs={"one": [1]}, keys={"one": "a:{id}"})
    cache.set_many({"a:1": "old", "b:1": "other"})
    assert leftovers.apply_kept() == 1
    assert cache.get_many(["a:1", "b:1"]) == {"b:1": "other"}
