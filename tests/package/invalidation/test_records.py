"""No lost invalidation: recorded with the change, and kept in the database until the cache has taken it."""

from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.core import serializers
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from redis import Redis

from embedded.redis_server import RedisServer
from myapp.models import Post
from myapp.warming import posts
from tests.support.keyed import cached, gone, gone_by, job, waiting
from tests.support.transactions import rolled_back
from warmer import StoreUnavailable
from warmer.invalidation import Relay, backlog, captures_by_triggers, records
from warmer.invalidation.records import Record, fingerprint
from warmer.models import ChangeRecord
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

MINUTE = timedelta(minutes=1)


def posts_waiting() -> list[int]:
    """Return the posts of which changes wait."""
    return [int(row["id"]) for source, rows in waiting() if source == "myapp_post" for row in rows]


def ask(key: str, *ids: int) -> None:
    """Record that ids of a job were asked for; none: every key."""
    records.write([Record(key=key, rows=str(list(ids)) if ids else None)], using="default")


@pytest.fixture
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: None)


def test_atomic__record_is_written_with_the_change_and_marked_after_it(make_post: Any) -> None:
    first, second = make_post(), make_post()
    with transaction.atomic():
        first.save()
        with transaction.atomic():
            second.save()
        assert set(posts_waiting()) == {first.pk, second.pk}
    assert waiting() == []
    record = ChangeRecord.objects.filter(source="myapp_post").latest("pk")
    assert record.applied_at - record.recorded_at < MINUTE
    assert record.applied_by == fingerprint()


@pytest.mark.parametrize("by_hand", [False, True])
def test_savepoint__first_change_rolled_back_and_a_later_one_kept(make_post: Any, by_hand: bool) -> None:
    """The record of the change is gone with a savepoint by hand, of which `atomic` knows nothing."""
    first, second = make_post(), make_post()
    keys = cached(f"post:{first.pk}", f"post:{second.pk}")
    with transaction.atomic():
        if by_hand:
            savepoint = transaction.savepoint()
            for post in (first, second):
                post.save()
                transaction.savepoint_rollback(savepoint)  # it can be done again
                assert posts_waiting() == []
        else:
            with rolled_back():
                first.save()
        with transaction.atomic():
            second.save()
        assert set(posts_waiting()) == {second.pk}
    assert gone(*keys) == {keys[1]}
    assert waiting() == []


if not captures_by_triggers():  # where the database itself writes them

    def test_atomic__change_again_after_it_could_not_be_recorded(
        make_post: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        post = make_post()
        with transaction.atomic():
            before = transaction.savepoint()
            with monkeypatch.context() as failing, pytest.raises(DatabaseError):
                failing.setattr(records, "write", Mock(side_effect=DatabaseError("full")))
                post.save()
            transaction.savepoint_rollback(before)
            post.save()
            assert posts_waiting() == [post.pk]
        assert waiting() == []


@pytest.mark.usefixtures("_no_worker")
@pytest.mark.parametrize("in_atomic", [True, False])
def test_cache_down__changes_wait_until_it_is_back(make_post: Any, redis_server: RedisServer, in_atomic: bool) -> None:
    post = make_post()
    redis_server.stop()
    with transaction.atomic() if in_atomic else nullcontext():
        post.save()
    assert set(posts_waiting()) == {post.pk}
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            Relay().poll()
    ChangeRecord.objects.update(recorded_at=timezone.now() - 3 * MINUTE)
    assert backlog().count == backlog().by_job["posts"] == 1
    assert backlog().age >= 3 * MINUTE
    redis_server.start()
    keys = ["popular_posts", f"post:{post.pk}", "post:0"]
    assert gone_by(keys, Relay().poll) == set(keys[:2])
    assert waiting() == []


@pytest.mark.usefixtures("_no_worker")
def test_whole_job__is_fenced_at_once_and_swept_by_a_worker(make_post: Any, monkeypatch: Any) -> None:
    whole = job("w:{id}", [Post])
    keys = cached("w:1", "w:2")
    token = whole.spec.store.token([])
    asked = []
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: asked.append(True))
    with transaction.atomic():
        make_post()
    assert asked
    assert whole.spec.store.write(token, {"w:1": "old"}).outcomes["w:1"] == "superseded"
    assert waiting()
    Relay().poll()
    assert gone(*keys) == set(keys)
    assert waiting() == []


def test_poll__many_records_are_few_round_trips(redis_client: Redis) -> None:
    asked = [Record(key="post:{id}", rows=f"[{number}]") for number in range(250)]
    records.write([*asked, *[Record(key="popular_posts")] * 250], using="default")
    posts.invalidate([0])  # the server knows the script from here on
    redis_client.config_resetstat()
    Relay().poll()
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 3
    assert waiting() == []


def test_poll__records_that_cannot_be_marked_are_applied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ask("post:{id}", 7)
    relay = Relay()
    with monkeypatch.context() as read_only:
        read_only.setattr(records, "mark", lambda *_, **__: None)
        relay.poll()
    (key,) = cached("post:7")
    relay.poll()
    assert gone(key) == {key}
    assert gone_by([key], relay.poll) == set()


def test_poll__change_of_newer_code_is_left_to_it() -> None:
    ask("of_the_next_release:{id}", 1)
    ask("post:{id}", 7)
    records.write([Record(source="table_of_the_next_release")], using="default")
    (key,) = cached("post:7")
    Relay().poll()
    assert gone(key) == {key}
    assert ChangeRecord.objects.filter(applied_at=None).count() == 2
    assert backlog().count == 0


def test_points__commit_comes_before_the_invalidation(make_post: Any) -> None:
    post = make_post()
    (key,) = cached(f"post:{post.pk}")
    seen = []
    with at("committed", lambda: seen.append((gone(key), connection.in_atomic_block))):
        post.save()
    assert seen == [(set(), False)]


# -- fixtures -----------------------------------------------------------------------------------------------
def test_loaddata__of_recorded_changes_leaves_their_ids_to_later_changes() -> None:
    ask("post:{id}", 1)
    number = ChangeRecord.objects.get().pk
    ChangeRecord.objects.update(id=number + 2)
    dumped = serializers.serialize("json", ChangeRecord.objects.all())
    ChangeRecord.objects.all().delete()
    for each in serializers.deserialize("json", dumped):
        each.save()
    for id in range(2, 5):
        ask("post:{id}", id)
    assert waiting() == [("post:{id}", [id]) for id in range(1, 5)]
