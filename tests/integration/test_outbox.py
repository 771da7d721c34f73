"""No lost invalidation: kept in the database until the cache has taken it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core.cache import cache
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from myapp.models import Comment, Post
from myapp.warming import posts
from tests.integration.transactions import Rollback
from warmer import StoreUnavailable, leftovers, outbox, warm_many
from warmer.models import PendingInvalidation
from warmer.tasks import apply_pending
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def kept() -> list[dict[str, Any]]:
    return list(PendingInvalidation.objects.order_by("pk").values_list("jobs", flat=True))


def retry_now() -> None:
    PendingInvalidation.objects.update(due_at=timezone.now())


def test_atomic__row_is_written_with_the_change_and_dropped_after_it(make_post: Any) -> None:
    post = make_post()
    with transaction.atomic():
        post.save()
        assert kept() == [{"popular_posts": None, "posts": [post.pk]}]
    assert kept() == []


def test_atomic__one_row_a_change_and_none_for_what_is_known(make_post: Any) -> None:
    first, second = make_post(), make_post()
    with transaction.atomic():
        first.save()
        first.save()
        second.save()
        assert kept() == [{"popular_posts": None, "posts": [first.pk]}, {"posts": [second.pk]}]
    assert kept() == []


def test_atomic__rolled_back_leaves_no_row(make_post: Any) -> None:
    post = make_post()
    with pytest.raises(Rollback), transaction.atomic():
        post.save()
        raise Rollback
    assert kept() == []


def test_atomic__savepoint_rolled_back_leaves_the_other_rows(make_post: Any) -> None:
    first, second = make_post(), make_post()
    with transaction.atomic():
        first.save()
        with pytest.raises(Rollback), transaction.atomic():
            second.save()
            raise Rollback
        assert kept() == [{"popular_posts": None, "posts": [first.pk]}]


def test_atomic__change_again_after_a_savepoint_by_hand_was_rolled_back(make_post: Any) -> None:
    """The row of the first change is gone with the savepoint, of which `atomic` knows nothing."""
    first, second = make_post(), make_post()
    first_row = {"popular_posts": None, "posts": [first.pk]}
    with transaction.atomic():
        first.save()
        savepoint = transaction.savepoint()
        second.save()
        with transaction.atomic():
            second.save()
        transaction.savepoint_rollback(savepoint)
        assert kept() == [first_row]
        second.save()
        assert kept() == [first_row, {"popular_posts": None, "posts": [second.pk]}]
        second.save()
        transaction.savepoint_rollback(savepoint)  # it can be done again
        with transaction.atomic():
            second.save()
        assert kept() == [first_row, {"popular_posts": None, "posts": [second.pk]}]
    assert kept() == []


def test_atomic__change_again_after_it_could_not_be_written_down(
    make_post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = make_post()
    with transaction.atomic():
        before = transaction.savepoint()
        with monkeypatch.context() as failing:
            failing.setattr(outbox, "keep", lambda *_, **__: (_ for _ in ()).throw(DatabaseError("full")))
            with pytest.raises(DatabaseError):
                post.save()
        transaction.savepoint_rollback(before)
        post.save()
        assert PendingInvalidation.objects.count() == 1
    assert PendingInvalidation.objects.count() == 0


def test_atomic__savepoint_by_hand_before_the_first_change(make_post: Any) -> None:
    post = make_post()
    cache.set_many({"popular_posts": "old", f"post:{post.pk}": "old"})
    with transaction.atomic():
        savepoint = transaction.savepoint()
        post.save()
        transaction.savepoint_rollback(savepoint)
        post.save()
        assert kept() == [{"popular_posts": None, "posts": [post.pk]}]
    assert kept() == []
    assert cache.get_many(["popular_posts", f"post:{post.pk}"]) == {}


def test_atomic__savepoints_that_stand_cost_no_row_more(make_post: Any) -> None:
    post = make_post()
    row = {"popular_posts": None, "posts": [post.pk]}
    with transaction.atomic():
        post.save()
        savepoint = transaction.savepoint()
        post.save()
        transaction.savepoint_rollback(savepoint)
        transaction.savepoint_commit(transaction.savepoint())
        with pytest.raises(Rollback), transaction.atomic():
            raise Rollback
        post.save()
        assert kept() == [row]


def test_atomic__change_of_a_rolled_back_transaction_that_something_holds(make_post: Any) -> None:
    """As the frames of a traceback do."""
    post = make_post()
    held = []
    with pytest.raises(Rollback), transaction.atomic():
        post.save()
        held.extend(connection.run_on_commit)
        raise Rollback
    with transaction.atomic():
        post.save()
        assert kept() == [{"popular_posts": None, "posts": [post.pk]}]
    assert held


def test_cache_down__inside_a_transaction_is_applied_later(make_post: Any, redis_server: RedisServer) -> None:
    post = make_post()
    redis_server.stop()
    with transaction.atomic():
        post.save()
    assert kept() == [{"popular_posts": None, "posts": [post.pk]}]
    redis_server.start()
    cache.set_many({"popular_posts": "old", f"post:{post.pk}": "old", "post:0": "other"})
    assert apply_pending() == 1
    assert cache.get_many(["popular_posts", f"post:{post.pk}", "post:0"]) == {"post:0": "other"}
    assert kept() == []


def test_cache_down__in_autocommit_is_applied_later(make_post: Any, redis_server: RedisServer) -> None:
    post = make_post()
    redis_server.stop()
    post.save()
    assert kept() == [{"popular_posts": None, "posts": [post.pk]}]
    redis_server.start()
    cache.set(f"post:{post.pk}", "old")
    assert apply_pending() == 1
    assert cache.get(f"post:{post.pk}") is None


def test_cache_down__fence_of_a_fill_under_way_is_raised_later(make_post: Any, settings: Any) -> None:
    """A value loaded before the change cannot be written after its late invalidation."""
    post = make_post()
    job: Any = warm_many("late:{id}", ids=list, name="late", depends_on={Post: "id"})(
        lambda ids: {id: Post.objects.get(pk=id).title for id in ids}
    )
    token = job.spec.store.token()
    PendingInvalidation.objects.create(jobs={"late": [post.pk]})
    apply_pending()
    assert job.spec.store.write(token, {f"late:{post.pk}": "old"}).outcomes[f"late:{post.pk}"] == "fenced"


def test_apply_kept__pauses_twice_as_long_after_each_failure(
    make_post: Any, redis_server: RedisServer
) -> None:
    post = make_post()
    redis_server.stop()
    post.save()
    pauses = []
    for _ in range(8):
        retry_now()
        with pytest.raises(StoreUnavailable):
            leftovers.apply_kept()
        row = PendingInvalidation.objects.get()
        pauses.append(round((row.due_at - timezone.now()).total_seconds()))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert leftovers.apply_kept() == 0  # not due


def test_apply_pending__says_how_long_the_oldest_waits(
    make_post: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    post = make_post()
    redis_server.stop()
    post.save()
    PendingInvalidation.objects.update(recorded_at=timezone.now() - timedelta(minutes=3))
    assert apply_pending() == 0
    assert "1 invalidations wait for the cache, the oldest for 180 s" in caplog.text
    assert outbox.backlog().count == 1


def test_apply_kept__many_rows_are_merged_into_few_round_trips(make_post: Any, redis_client: Redis) -> None:
    for number in range(250):
        PendingInvalidation.objects.create(jobs={"posts": [number], "popular_posts": None})
    posts.invalidate([0])  # the server knows the script from here on
    redis_client.config_resetstat()
    assert leftovers.apply_kept() == 250
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 3


def test_apply_kept__rows_that_cannot_be_deleted_are_applied_once_at_a_time(
    make_post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = make_post()
    PendingInvalidation.objects.create(jobs={"posts": [post.pk]})
    with monkeypatch.context() as read_only:
        read_only.setattr(outbox, "drop", lambda *_, **__: False)
        assert leftovers.apply_kept() == 1
    assert leftovers.apply_kept() == 1
    assert leftovers.apply_kept() == 0


def test_apply_kept__job_of_newer_code_is_left_for_it(make_post: Any) -> None:
    post = make_post()
    cache.set(f"post:{post.pk}", "old")
    PendingInvalidation.objects.create(jobs={"of_the_next_release": [1], "posts": [post.pk]})
    leftovers.apply_kept()
    assert cache.get(f"post:{post.pk}") is None
    assert len(kept()) == 1
    long_ago = timezone.now() - timedelta(days=2)
    PendingInvalidation.objects.update(recorded_at=long_ago, due_at=long_ago)
    leftovers.apply_kept()
    assert kept() == []


def test_whole_job__is_fenced_at_once_and_swept_by_a_worker(make_post: Any, monkeypatch: Any) -> None:
    job: Any = warm_many("w:{id}", ids=list, name="w", depends_on=[Comment])(
        lambda ids: {id: id for id in ids}
    )
    post = make_post()
    cache.set_many({"w:1": "old", "w:2": "old"})
    token = job.spec.store.token()
    asked = []
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: asked.append(True))
    Comment.objects.create(post=post, author=post.author, body="!")
    assert asked == [True]
    assert job.spec.store.write(token, {"w:1": "old"}).outcomes["w:1"] == "fenced"
    assert {"w": None}.items() <= kept()[0].items()
    apply_pending()
    assert cache.get_many(["w:1", "w:2"]) == {}
    assert kept() == []


def test_setting_off__keeps_nothing(make_post: Any, redis_server: RedisServer, settings: Any) -> None:
    settings.WARMER_DURABLE_INVALIDATION = False
    post = make_post()
    with transaction.atomic():
        post.save()
        assert kept() == []
    redis_server.stop()
    post.save()
    assert kept() == []


def test_setting_off__whole_job_is_swept_at_once(make_post: Any, settings: Any) -> None:
    settings.WARMER_DURABLE_INVALIDATION = False
    warm_many("w:{id}", ids=list, name="w", depends_on=[Post])(dict)
    cache.set_many({"w:1": "old", "w:2": "old"})
    make_post()
    assert cache.get_many(["w:1", "w:2"]) == {}


KILLED = """
import django, os, signal
django.setup()
from django.db import transaction
from myapp.models import Post
from warmer import points
points.hooks["{point}"] = lambda job: os.kill(os.getpid(), signal.SIGKILL)
with transaction.atomic():
    post = Post.objects.get(pk={pk})
    post.title = "New"
    post.save()
"""


@pytest.mark.parametrize("point", ["committed", "invalidated"])
def test_killed__between_commit_and_invalidation_loses_nothing(make_post: Any, point: str) -> None:
    post = make_post(title="Old")
    cache.set_many({"popular_posts": "old", f"post:{post.pk}": "old"})
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": address_of_the_test_database(),
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(point=point, pk=post.pk)],
        env=environment,
        cwd=project_settings.BASE_DIR,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert Post.objects.get(pk=post.pk).title == "New"
    assert (cache.get("popular_posts") == "old") == (point == "committed")
    assert len(kept()) == 1
    apply_pending()
    assert cache.get_many(["popular_posts", f"post:{post.pk}"]) == {}
    assert kept() == []


def test_killed__before_the_commit_leaves_everything_as_it_was(make_post: Any) -> None:
    post = make_post(title="Old")
    cache.set(f"post:{post.pk}", "old")
    with pytest.raises(Rollback), transaction.atomic():
        post.title = "New"
        post.save()
        raise Rollback
    assert (kept(), cache.get(f"post:{post.pk}")) == ([], "old")


def test_backlog__of_nothing() -> None:
    assert outbox.backlog().count == 0
    assert outbox.backlog().age == timedelta(0)


def test_points__commit_comes_before_the_invalidation(make_post: Any) -> None:
    post = make_post()
    cache.set(f"post:{post.pk}", "old")
    seen = []
    with at("committed", lambda: seen.append((cache.get(f"post:{post.pk}"), connection.in_atomic_block))):
        post.save()
    assert seen == [("old", False)]


def address_of_the_test_database() -> str:
    """Return the `DATABASE_URL` of the database that this test uses, for another process."""
    used = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{used['NAME']}"
    login = used["USER"] + (f":{used['PASSWORD']}" if used["PASSWORD"] else "")
    if used["HOST"].startswith("/"):
        return f"postgres://{login}@{used['HOST'].replace('/', '%2F')}:{used['PORT']}/{used['NAME']}"
    return f"postgres://{login}@{used['HOST']}:{used['PORT']}/{used['NAME']}"
