"""Read-through: cached, or loaded once and stored; never failing because the cache does."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from redis import Redis

from embedded.redis_server import RedisServer
from myapp.models import Post
from myapp.warming import popular_posts
from tests.package.filling.support import MGET_ALONE, calls_of
from tests.support.readers import Loader
from tests.support.transactions import Rollback
from users.models import CustomUser
from users.warming import user_profiles
from warmer import invalidate_for, warm, warm_many
from warmer.exceptions import InvalidId
from warmer.invalidation import captures_by_triggers
from warmer.stores import breaker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@contextmanager
def first_to_hear(signal: Any, sender: Any, receiver: Callable[[], object]) -> Iterator[None]:
    """Connect a receiver of the project before those of warmer."""

    def call(**_: Any) -> None:
        receiver()

    signal.connect(call, sender=sender)
    signal.receivers.insert(0, signal.receivers.pop())
    try:
        yield
    finally:
        signal.disconnect(call, sender=sender)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def job(loader: Loader) -> Any:
    return warm_many("read:{id}", ids=list, name="read", batch_size=3)(loader)


def titles() -> list[str]:
    return [post["title"] for post in popular_posts.get()]


def test_get__loads_a_cold_key_once_and_hits_in_one_round_trip(job: Any, loader: Loader, redis_client: Redis) -> None:
    assert job.get(7) == job.get("7") == "value 7"
    assert loader.calls == [[7]]
    assert cache.get("read:7") == "value 7"
    redis_client.config_resetstat()
    job.get(7)
    assert calls_of(redis_client) == MGET_ALONE
    cache.set("read:7", "cached")
    assert job([7]) == {7: "value 7"}  # the loader, bypassing the cache


def test_get__without_a_value_is_the_default_and_not_stored(job: Any, loader: Loader) -> None:
    assert [job.get(404), job.get(404, "none")] == [None, "none"]
    assert loader.calls == [[404], [404]]
    assert cache.get("read:404") is None


def test_get_many__loads_only_what_is_missing_batch_by_batch(job: Any, loader: Loader) -> None:
    cache.set("read:2", "cached")
    found = job.get_many([1, 2, 3, 4, 5, 404])
    assert found == {1: "value 1", 2: "cached", 3: "value 3", 4: "value 4", 5: "value 5"}
    assert job.get_many([]) == {}
    assert loader.calls == [[1, 3, 4], [5, 404]]


@pytest.mark.parametrize("bad", [None, True, 1.5, "", "a b", "a:b", "x{y", object(), b"1", "n" * 300, [1], {1}])
def test_get__id_that_cannot_be_a_key(job: Any, loader: Loader, bad: Any) -> None:
    with pytest.raises(InvalidId):
        job.get(bad)
    for call in (job.get_many, job.invalidate, job.warm):
        with pytest.raises(InvalidId):
            call(iter([1, bad]))
    assert loader.calls == []


@pytest.mark.parametrize("is_probe", [False, True])
def test_get__cache_down_loads_from_the_database_and_is_logged_once(
    job: Any,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_probe: bool,
) -> None:
    monkeypatch.setattr(breaker, "FIRST_WAIT_SECONDS", 0.0 if is_probe else 60.0)
    redis_server.stop()
    for _ in range(2):
        assert job.get(1) == "value 1"
        assert job.get_many([1, 2]) == {1: "value 1", 2: "value 2"}
    assert [each.name for each in caplog.records if each.levelno >= logging.INFO] == ["warmer.stores.breaker"]
    assert all(each.exc_info is None for each in caplog.records)


def test_get__error_after_an_outage_is_logged_at_once(
    job: Any, redis_server: RedisServer, redis_client: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(breaker, "FIRST_WAIT_SECONDS", 0.0)
    redis_server.stop()
    assert job.get(1) == "value 1"  # logged by the breaker
    redis_server.start()
    redis_client.execute_command("ACL SETUSER", "default", "-mget")
    assert job.get(1) == "value 1"
    problems = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert problems[-1].startswith("Reading read from the database: ")
    assert "mget" in problems[-1]


def test_get__full_cache_is_logged_once(
    job: Any, loader: Loader, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
    for ids in ([1, 2, 3, 4], [5], [6]):
        assert job.get_many(ids) == {id: f"value {id}" for id in ids}
    (problem,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert problem.startswith("read: could not store 1 key, e.g. read:1: the cache refused it: OOM")


@pytest.mark.parametrize("act", ["save", "delete"])
def test_get__in_an_earlier_receiver_of_a_change_stores_nothing(make_post: Any, act: str) -> None:
    post = make_post(title="Old", views=5)
    assert titles() == ["Old"]
    seen: list[list[str]] = []
    signal = post_save if act == "save" else post_delete
    with first_to_hear(signal, Post, lambda: seen.append(titles())), pytest.raises(Rollback), transaction.atomic():
        with pytest.raises(Rollback), transaction.atomic():
            post.title = "Uncommitted"
            getattr(post, act)()
            raise Rollback
        assert [each["title"] for each in cache.get("popular_posts")] == ["Old"]
        cache.delete("popular_posts")
        assert titles() == ["Old"]
        assert cache.get("popular_posts")  # nothing is pending any more
        raise Rollback
    assert seen == [["Uncommitted"] if act == "save" else []]


@pytest.mark.parametrize("way", ["add", "set", "reverse add", "remove", "clear"])
def test_get__in_an_earlier_receiver_of_a_many_to_many_stores_nothing(make_user: Any, way: str) -> None:
    through: Any = CustomUser.groups.through
    job: Any = warm_many("in:{id}", ids=list, name="in", depends_on={through: "customuser_id"})(
        lambda ids: {id: through.objects.filter(customuser_id=id).count() for id in ids}
    )
    user, group = make_user(), Group.objects.create(name="editors")
    if way in ("remove", "clear"):
        user.groups.add(group)
    before = user.groups.count()
    act: Callable[[], object] = {
        "add": lambda: user.groups.add(group),
        "set": lambda: user.groups.set([group]),
        "reverse add": lambda: group.user_set.add(user),
        "remove": lambda: user.groups.remove(group),
        "clear": lambda: user.groups.clear(),
    }[way]
    seen: list[int] = []
    with (
        first_to_hear(m2m_changed, through, lambda: seen.append(job.get(user.pk))),
        pytest.raises(Rollback),
        transaction.atomic(),
    ):
        act()
        raise Rollback
    assert seen == [before, 1 - before]
    assert job.get(user.pk) == before


@pytest.mark.parametrize("way", ["update", "bulk_update", "sql", "select that changes"])
def test_get__after_a_write_without_a_signal_stores_nothing(make_post: Any, way: str) -> None:
    post = make_post(title="Old", views=5)
    update = "UPDATE myapp_post SET title = 'Uncommitted'"
    with pytest.raises(Rollback), transaction.atomic(), connection.cursor() as cursor:
        if way == "update":
            Post.objects.update(title="Uncommitted")
        elif way == "bulk_update":
            post.title = "Uncommitted"
            Post.objects.bulk_update([post], ["title"])
        elif way == "sql" or connection.vendor != "postgresql":
            cursor.execute(update)
        else:  # a statement that does not name the table
            cursor.execute(f"CREATE FUNCTION pg_temp.change() RETURNS void LANGUAGE sql AS $$ {update} $$")
            cursor.execute("SELECT pg_temp.change()")
        if not captures_by_triggers():
            invalidate_for(Post.objects.all())
        assert titles() == ["Uncommitted"]
        raise Rollback
    assert cache.get("popular_posts") is None
    assert titles() == ["Old"]


def test_get__after_a_savepoint_by_hand_stores_nothing_uncommitted(make_post: Any) -> None:
    post = make_post(title="Old", views=5)
    with transaction.atomic():
        savepoint = transaction.savepoint()
        post.title = "Undone"
        post.save()
        assert titles() == ["Undone"]
        transaction.savepoint_rollback(savepoint)
        assert titles() == ["Old"]
        post.title = "Uncommitted"
        post.save()
        assert titles() == ["Uncommitted"]
        transaction.set_rollback(True)
    assert cache.get("popular_posts") is None
    assert titles() == ["Old"]


def test_get__inside_a_transaction_that_changed_something_else_reads_the_cache(make_user: Any, make_post: Any) -> None:
    user = make_user(first_name="Ada")
    user_profiles.get(user.pk)
    cached = {**cache.get(f"user:{user.pk}:profile"), "first_name": "cached"}
    cache.set(f"user:{user.pk}:profile", cached)
    with transaction.atomic():
        make_post(author=user)
        assert user_profiles.get(user.pk)["first_name"] == "cached"


def test_async__does_what_the_sync_methods_do(loader: Loader) -> None:
    job = warm_many("async:{id}", name="async", ids=lambda: [1, 2])(loader)
    single = warm("async_one", name="async_one")(lambda: "one")

    async def use() -> None:
        assert await single.aget() == "one"
        assert await job.aget(1) == "value 1"
        assert await job.aget(404, "none") == "none"
        assert await job.aget_many([1, 2, 404]) == {1: "value 1", 2: "value 2"}
        assert await asyncio.gather(*(job.aget(7) for _ in range(20))) == ["value 7"] * 20
        assert (await job.awarm()).written == 2
        assert (await job.awarm([1], only_missing=True)).skipped == 1
        assert (await single.awarm()).written == 1
        await job.ainvalidate([1])
        await single.ainvalidate()

    async_to_sync(use)()
    assert cache.get_many(["async:1", "async:2", "async_one"]) == {"async:2": "value 2"}
    assert loader.calls.count([7]) == 1


@pytest.mark.parametrize("is_cached", [True, False])
def test_async__sync_methods_are_refused_in_a_running_loop(loader: Loader, is_cached: bool) -> None:
    job = warm_many("async:{id}", name="keyed", ids=lambda: [1])(loader)
    single = warm("async_one", name="single")(lambda: "one")
    if is_cached:
        job.warm()
        single.warm()
    before = len(loader.calls), cache.get_many(["async:1", "async_one"])
    calls: list[tuple[str, Any, *tuple[Any, ...]]] = [
        ("single", single.get),
        ("single", single.warm),
        ("single", single.invalidate),
        ("keyed", job.get, 1),
        ("keyed", job.get_many, [1]),
        ("keyed", job.warm),
        ("keyed", job.invalidate, [1]),
    ]

    async def use() -> None:
        for name, method, *arguments in calls:
            with pytest.raises(SynchronousOnlyOperation, match=f"await {name}.a{method.__name__}"):
                method(*arguments)

    async_to_sync(use)()
    assert (len(loader.calls), cache.get_many(["async:1", "async_one"])) == before
