"""`negative_timeout`: missing values are cached too, until a row is created."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from redis import Redis

from myapp.models import Post
from tests.package.filling.support import LOCMEM, MGET_ALONE, Calls, calls_of
from tests.support.others import apart
from warmer import warm_many
from warmer.testing import hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

MINUTE = timedelta(minutes=1)
ABSENT = "{:1:title:7}:absent"


@pytest.fixture
def calls() -> Calls:
    """What the loader was asked for."""
    return []


@pytest.fixture
def declare(calls: Calls) -> Callable[..., Any]:
    """Return a function that declares a job of posts' titles."""

    def load(ids: Sequence[int]) -> Mapping[int, str]:
        calls.append(list(ids))
        return dict(Post.objects.filter(pk__in=ids).values_list("pk", "title"))

    def make(**options: Any) -> Any:
        options = {"ids": list, "depends_on": {Post: "id"}, "negative_timeout": MINUTE} | options
        return warm_many("title:{id}", name="titles", **options)(load)

    return make


@pytest.fixture
def job(declare: Any) -> Any:
    return declare()


def test_get__asks_the_database_once_and_the_cache_in_one_trip(job: Any, calls: Calls, redis_client: Redis) -> None:
    assert [job.get(7), job.get(7, "none"), job.get("7")] == [None, "none", None]
    assert calls == [[7]]
    assert "title:7" not in cache
    redis_client.config_resetstat()
    job.get(7)
    assert calls_of(redis_client) == MGET_ALONE


def test_get_many__asks_for_what_is_not_known(job: Any, calls: Calls, make_post: Any) -> None:
    post = make_post(title="Here")
    job.get(7777)
    for _ in range(2):
        assert job.get_many([7777, 8888, post.pk]) == {post.pk: "Here"}
    assert calls == [[7777], [8888, post.pk]]


@pytest.mark.parametrize("backend", ["redis", "locmem"])
def test_absence__ends_when_the_row_is_created_and_comes_when_it_is_deleted(
    declare: Any, calls: Calls, make_post: Any, settings: Any, backend: str
) -> None:
    if backend == "locmem":
        settings.CACHES = LOCMEM
        cache.clear()
    job = declare()
    assert [job.get(7), job.get(7)] == [None, None]
    post = make_post(pk=7, title="Created")
    assert job.get(7) == "Created"
    post.delete()
    assert [job.get(7), job.get(7)] == [None, None]
    assert calls == [[7]] * 3


def test_absence__stays_when_the_creation_is_rolled_back(job: Any, calls: Calls, make_post: Any) -> None:
    assert job.get(7) is None
    with transaction.atomic():
        make_post(pk=7, title="Never")
        assert job.get(7) == "Never"  # this transaction sees its own changes
        transaction.set_rollback(True)
    assert job.get(7) is None
    assert calls == [[7], [7]]


def test_absence__loaded_before_the_creation_is_not_stored(job: Any, make_post: Any, redis_client: Redis) -> None:
    with ThreadPoolExecutor(1) as pool, hold("loaded", job="titles") as point:
        reader = pool.submit(apart(job.get), 7, "none")
        point.wait()
        make_post(pk=7, title="Created")
        point.release()
        assert reader.result() == "none"
    assert not redis_client.exists(ABSENT)
    assert job.get(7) == "Created"


@pytest.mark.parametrize("ids", [[7], None])
@pytest.mark.parametrize(("prefix", "version"), [("", 1), ("site", 3)])
def test_absence__ends_with_an_invalidation(
    declare: Any, settings: Any, redis_client: Redis, ids: Any, prefix: str, version: int
) -> None:
    entry = settings.CACHES["default"] | {"KEY_PREFIX": prefix, "VERSION": version}
    settings.CACHES = {"default": entry}
    job = declare()
    absent = f"{{{prefix}:{version}:title:7}}:absent"
    job.get(7)
    assert 0 < redis_client.pttl(absent) <= 60_000
    job.invalidate(ids)
    assert not redis_client.exists(absent)


def test_warm__caches_absence_and_ends_it(declare: Any, calls: Calls, make_post: Any) -> None:
    job = declare(depends_on=())  # so nothing is invalidated
    assert job.warm([7]).no_value == 1
    make_post(pk=7, title="Created")
    assert job.get(7) is None
    assert calls == [[7]]
    assert job.warm([7]).written == 1
    cache.delete("title:7")
    assert job.get(7) == "Created"
