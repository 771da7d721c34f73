"""More ids at once than a fence remembers: the whole job is invalidated instead, in one short step."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from django.db import transaction
from redis import Redis

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.support.keyed import cached, gone, gone_by, received, waiting
from tests.support.keyed import job as declare
from warmer import StoreUnavailable, invalidate_for
from warmer.exceptions import InvalidId
from warmer.invalidation import Relay, backlog

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

LIMIT = 3


@pytest.fixture(autouse=True)
def _limit(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WARMER_FENCE_RECORDS = LIMIT
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: None)  # no worker comes by itself


@pytest.fixture
def job() -> Any:
    return declare("many:{id}", {Post: "id"})


@pytest.fixture
def make_posts(make_post: Any) -> Callable[[int], list[str]]:
    """Return a function that creates posts, caches their keys and returns these."""

    def make(count: int) -> list[str]:
        posts = [make_post(title="old") for _ in range(count)]
        Relay().poll()
        return cached(*(f"many:{post.pk}" for post in posts))

    return make


def change_all() -> None:
    """Change all posts, each in a savepoint of its own."""
    for post in Post.objects.all():
        with transaction.atomic():
            post.title = "new"
            post.save()


def hashed_key(key: str, prefix: str, version: int) -> str:
    """A project's own `KEY_FUNCTION`, which leaves nothing of a key to be seen."""
    return sha256(f"{prefix}{version}{key}".encode()).hexdigest()


@pytest.mark.parametrize("way", ["transaction", "by hand"])
@pytest.mark.parametrize("count", [LIMIT, LIMIT + 1])
def test_changes__more_than_the_fence_remembers_cost_every_key(job: Any, make_posts: Any, way: str, count: int) -> None:
    keys = make_posts(count)
    others = cached("many:0")
    if way == "transaction":
        with transaction.atomic():
            change_all()
            assert gone(*keys) == set()
    else:
        invalidate_for(Post.objects.all())
    assert bool(waiting()) == (count > LIMIT)
    Relay().poll()
    assert gone(*keys, *others) == {*keys, *(others if count > LIMIT else ())}
    assert waiting() == []


def test_records__that_are_too_many_become_one_for_every_key(
    job: Any, make_post: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a time in which the cache was away."""
    monkeypatch.setattr("warmer.invalidation.records.PAGE", LIMIT)
    post = make_post()
    redis_server.stop()
    for _ in range(2 * LIMIT):
        with transaction.atomic():
            post.save()
    for _ in range(2):
        with suppress(StoreUnavailable):
            Relay().poll()
    assert waiting() == [("myapp_post", None)]
    redis_server.start()
    keys = [f"many:{post.pk}", "many:0"]
    assert gone_by(keys, Relay().poll) == set(keys)
    assert backlog().count == 0


def test_invalidate__by_hand(job: Any, redis_client: Redis) -> None:
    keys = cached(*(f"many:{id}" for id in range(6)))
    heard: list[Any] = []
    token = job.spec.store.token([])
    job.invalidate([7])
    redis_client.config_resetstat()
    with received(lambda keys, **_: heard.append(keys)):
        job.invalidate(iter(range(LIMIT + 1)))
    assert heard == [None]
    # How often the server was asked, also by scripts, to delete in one step that others wait for: the fence.
    assert redis_client.info("commandstats")["cmdstat_del"]["calls"] == 1
    assert gone(*keys) == set(keys)
    assert job.spec.store.write(token, {"many:5": "old"}).outcomes == {"many:5": "superseded"}


def test_invalidate__by_hand_counts_ids_once_and_refuses_what_is_none(job: Any) -> None:
    assert gone_by(["many:1", "many:2"], job.invalidate, [1] * (LIMIT + 1)) == {"many:1"}
    with pytest.raises(InvalidId):
        job.invalidate([*range(5), "a b"])
    assert gone("many:2") == set()


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
    for invalidate, rows in (
        (invalidate_for, Post.objects),
        (job.invalidate, Post.objects.values_list("pk", flat=True)),
    ):
        assert gone_by([*keys, "many:0"], invalidate, rows.all()) == set(keys)
    assert waiting() == []
