"""Two releases side by side, of which the newer gave a job another name, or another key."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from redis import Redis

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.support import keyed
from tests.support.keyed import gone, gone_by, waiting
from warmer import jobs, warm
from warmer.invalidation import Relay, records
from warmer.invalidation.records import Record
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

Declare = Callable[..., Any]


def titles(name: str, key: str = "title:{id}") -> Any:
    return keyed.titles(key, name=name, depends_on={Post: "id"})


def count(name: str, key: str = "count") -> Any:
    return warm(key, name=name, depends_on=[Post])(lambda: Post.objects.filter(title="new").count())


@pytest.mark.parametrize("declare", [titles, count])
@pytest.mark.parametrize("caches", [None, LOCMEM], ids=["redis", "locmem"])
def test_renamed__old_code_invalidates_while_new_code_fills(
    declare: Declare, caches: Any, make_post: Any, settings: Any
) -> None:
    settings.CACHES = caches or settings.CACHES
    post = make_post(title="old")
    ids = [[post.pk]] if declare is titles else []
    before = declare("old_name")
    jobs.unregister("old_name")
    job = declare("new_name")

    def change_by_old_code() -> None:
        Post.objects.filter(pk=post.pk).update(title="new")
        before.invalidate(*ids)

    with at("loaded", change_by_old_code, job="new_name"):
        job.warm(*ids)
    assert cache.get(f"title:{post.pk}") in (None, "new")
    assert cache.get("count") in (None, 1)


def test_fence__is_named_by_the_key(redis_client: Redis, settings: Any) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": "site"}}
    several, single = titles("first"), count("second")
    several.spec.store.token([])
    single.spec.store.token([])
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


def test_waiting__is_applied_by_the_job_that_has_the_key_now(make_post: Any, redis_server: RedisServer) -> None:
    post = make_post()
    old = titles("old_name"), count("old_count")
    redis_server.stop()
    with transaction.atomic():
        post.save()
        for each in old:
            each.invalidate()
    redis_server.start()
    for each in old:
        jobs.unregister(each.name)
    titles("new_name")
    count("new_count")
    keys = [f"title:{post.pk}", "title:0", "count"]
    assert gone_by(keys, Relay().poll) == set(keys)
    assert waiting() == []


def test_waiting__for_a_key_of_other_code_is_left_to_it_and_the_rest_applied_once() -> None:
    """The name alone does not tell: the old release's keys are still read by it."""
    titles("titles", key="v2:title:{id}")
    count("count")
    relay = Relay()
    records.write([Record(key="title:{id}", rows="[1]"), Record(key="count")], using="default")
    keys = ["title:1", "v2:title:1", "count"]
    assert gone_by(keys, relay.poll) == {"count"}
    assert gone_by(["count"], relay.poll) == set()
    titles("of_the_old_release")
    relay.poll()
    assert gone("title:1") == {"title:1"}
