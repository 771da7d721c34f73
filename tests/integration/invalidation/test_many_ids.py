"""More ids at once than a fence remembers: the whole job is invalidated instead, in one short step."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from django.db import transaction
from redis import Redis

from myapp.models import Post
from tests.integration.keyed import cached, gone
from warmer import InvalidId, invalidate_for, keys_invalidated, warm_many
from warmer.models import PendingInvalidation
from warmer.querysets import WarmingQuerySet
from warmer.tasks import apply_pending

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

POSTS: Any = WarmingQuerySet(Post)
LIMIT = 3


@pytest.fixture(autouse=True)
def _limit(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WARMER_FENCE_RECORDS = LIMIT
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: None)  # no worker comes by itself


@pytest.fixture
def job() -> Any:
    return warm_many("many:{id}", ids=list, name="many", depends_on={Post: "id"})(dict)


@pytest.fixture
def make_posts(make_post: Any) -> Callable[[int], list[str]]:
    """Return a function that creates posts titled "old", caches their keys and returns these."""

    def make(count: int) -> list[str]:
        posts = [make_post(title="old") for _ in range(count)]
        apply_pending()
        return cached(*(f"many:{post.pk}" for post in posts))

    return make


def kept() -> list[Any]:
    """Return what the outbox has of the job."""
    rows = PendingInvalidation.objects.order_by("pk").values_list("jobs", flat=True)
    return [jobs["many"] for jobs in rows if "many" in jobs]


def hashed_key(key: str, prefix: str, version: int) -> str:
    """A project's own `KEY_FUNCTION`, which leaves nothing of a key to be seen."""
    return sha256(f"{prefix}{version}{key}".encode()).hexdigest()


def test_update__in_a_transaction(job: Any, make_posts: Any) -> None:
    keys = make_posts(LIMIT + 1) + cached("many:0")
    token = job.spec.store.token()
    with transaction.atomic():
        POSTS.filter(title="old").update(title="new")
        assert kept() == [None]
        assert gone(*keys) == set()
    # At once nothing old can be written, and what is there is swept by a worker.
    assert set(job.spec.store.write(token, dict.fromkeys(keys, "old")).outcomes.values()) == {"fenced"}
    assert kept() == [None]
    assert apply_pending() == 1
    assert gone(*keys) == set(keys)
    assert kept() == []


def test_update__of_as_many_as_the_fence_remembers_costs_no_other_key(job: Any, make_posts: Any) -> None:
    keys = make_posts(LIMIT)
    others = cached("many:0")
    with transaction.atomic():
        POSTS.filter(title="old").update(title="new")
        assert [len(ids) for ids in kept()] == [LIMIT]
    assert gone(*keys, *others) == set(keys)
    assert kept() == []


def test_saves__of_one_transaction_count_together(job: Any, make_posts: Any) -> None:
    keys = make_posts(LIMIT + 1)
    with transaction.atomic():
        for number, post in enumerate(Post.objects.order_by("pk"), start=1):
            post.save()
            assert [each is None for each in kept()] == [False] * min(number, LIMIT) + [True] * (
                number > LIMIT
            )
        Post.objects.order_by("pk")[0].save()
        assert len(kept()) == LIMIT + 1
    apply_pending()
    assert gone(*keys) == set(keys)


def test_savepoints__count_together_at_the_commit(job: Any, make_posts: Any, redis_client: Redis) -> None:
    keys = make_posts(2 * LIMIT) + cached("many:0")
    posts = list(Post.objects.order_by("pk"))
    token = job.spec.store.token()
    with transaction.atomic():
        for some in (posts[:LIMIT], posts[LIMIT:]):
            with transaction.atomic():
                POSTS.filter(pk__in=[post.pk for post in some]).update(title="new")
    assert set(job.spec.store.write(token, {"many:0": "old"}).outcomes.values()) == {"fenced"}
    apply_pending()
    assert gone(*keys) == set(keys)
    assert kept() == []


def test_invalidate_for__in_autocommit(job: Any, make_posts: Any) -> None:
    keys = make_posts(LIMIT + 1) + cached("many:0")
    invalidate_for(Post.objects.all())
    assert kept() == [None]
    apply_pending()
    assert gone(*keys) == set(keys)


def test_update__with_nothing_that_keeps_is_swept_at_once(job: Any, make_posts: Any, settings: Any) -> None:
    settings.WARMER_DURABLE_INVALIDATION = False
    keys = make_posts(LIMIT + 1) + cached("many:0")
    POSTS.filter(title="old").update(title="new")
    assert gone(*keys) == set(keys)


@pytest.mark.parametrize("rows", [[[1, 2, 3, 4]], [[1, 2], [3, 4]]], ids=["one row", "two rows"])
def test_kept__rows_that_are_applied_later(job: Any, rows: list[list[int]], redis_client: Redis) -> None:
    """As those of the release before, or of a time when the cache was away."""
    for ids in rows:
        PendingInvalidation.objects.create(jobs={"many": ids})
    keys = cached(*(f"many:{id}" for id in range(6)))
    job.invalidate([7])  # the server knows the script from here on
    redis_client.config_resetstat()
    assert apply_pending() == len(rows)
    assert gone(*keys) == set(keys)
    assert deletes(redis_client) == 1  # of the fence


def test_invalidate__by_hand(job: Any, redis_client: Redis) -> None:
    keys = cached(*(f"many:{id}" for id in range(6)))
    heard = []
    token = job.spec.store.token()
    job.invalidate([7])
    redis_client.config_resetstat()
    keys_invalidated.connect(lambda keys, **_: heard.append(keys), weak=False, dispatch_uid="t")
    try:
        job.invalidate(iter(range(LIMIT + 1)))
    finally:
        keys_invalidated.disconnect(dispatch_uid="t")
    assert heard == [None]
    assert deletes(redis_client) == 1
    assert gone(*keys) == set(keys)
    assert job.spec.store.write(token, {"many:5": "old"}).outcomes == {"many:5": "fenced"}


def test_invalidate__by_hand_with_an_id_that_is_none_invalidates_nothing(job: Any) -> None:
    keys = cached(*(f"many:{id}" for id in range(6)))
    with pytest.raises(InvalidId):
        job.invalidate([*range(5), "a b"])
    assert gone(*keys) == set()


def test_invalidate__by_hand_the_same_id_again_and_again_is_one(job: Any) -> None:
    cached("many:1", "many:2")
    job.invalidate([1] * (LIMIT + 1))
    assert gone("many:1", "many:2") == {"many:1"}


@pytest.mark.parametrize(
    "changed",
    [
        {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "many", "OPTIONS": {}},
        {"KEY_FUNCTION": f"{__name__}.hashed_key"},
    ],
    ids=["locmem", "key function"],
)
def test_keys_that_cannot_be_listed__are_invalidated_by_their_ids(
    changed: Any, settings: Any, job: Any, make_posts: Any
) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], **changed}}
    keys = make_posts(LIMIT + 1)
    cached("many:0")
    invalidate_for(Post.objects.all())
    assert gone(*keys, "many:0") == set(keys)
    cached(*keys)
    job.invalidate(Post.objects.values_list("pk", flat=True))
    assert gone(*keys, "many:0") == set(keys)
    assert kept() == []


def deletes(redis_client: Redis) -> int:
    """Return how often the server was asked, also by scripts, to delete in one step that others wait for."""
    return int(redis_client.info("commandstats").get("cmdstat_del", {}).get("calls", 0))
