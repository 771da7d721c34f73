"""Model changes: what is invalidated, when, and what is left alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models.signals import pre_delete
from redis import Redis

from embedded.redis_server import RedisServer
from myapp.models import Comment, Post
from users.models import CustomUser
from warmer import StoreUnavailable, invalidate_for, keys_invalidated, warm, warm_many
from warmer.stores.redis import RedisStore

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


class Rollback(Exception):
    """Rolls a transaction back."""


@pytest.fixture
def by_author() -> Any:
    """A job whose keys are authors' ids, which a post can move between."""
    return warm_many("author:{id}:posts", ids=list, name="by_author", depends_on={Post: "author_id"})(
        lambda ids: {id: id for id in ids}
    )


@pytest.fixture
def cached() -> Iterator[Callable[..., None]]:
    """Return a function that puts values into the cache."""

    def put(*keys: str) -> None:
        cache.set_many(dict.fromkeys(keys, "cached"))

    return put


def gone(*keys: str) -> set[str]:
    return set(keys) - set(cache.get_many(keys))


def test_save__invalidates_the_keys_that_depend_on_the_row(make_post: Any, cached: Any) -> None:
    post, other = make_post(), make_post()
    cached("popular_posts", f"post:{post.pk}", f"post:{other.pk}")
    post.title = "New"
    post.save()
    assert gone("popular_posts", f"post:{post.pk}", f"post:{other.pk}") == {
        "popular_posts",
        f"post:{post.pk}",
    }


def test_create__invalidates_the_id_of_the_new_row(make_post: Any, cached: Any) -> None:
    cached("popular_posts", "post:1")
    post = make_post()
    assert "popular_posts" in gone("popular_posts")
    cached(f"post:{post.pk}")
    make_post()
    assert gone(f"post:{post.pk}") == set()


def test_related_row__invalidates_what_it_belongs_to(make_post: Any, make_comment: Any, cached: Any) -> None:
    post = make_post()
    cached("popular_posts", f"post:{post.pk}")
    comment = make_comment(post=post)
    assert gone("popular_posts", f"post:{post.pk}") == {f"post:{post.pk}"}
    cached(f"post:{post.pk}")
    comment.delete()
    assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}


def test_moved_row__invalidates_the_old_and_the_new_id(
    make_post: Any, make_comment: Any, cached: Any
) -> None:
    old, new, other = make_post(), make_post(), make_post()
    comment = make_comment(post=old)
    keys = [f"post:{post.pk}" for post in (old, new, other)]
    cached(*keys)
    comment.post = new
    comment.save()
    assert gone(*keys) == set(keys[:2])


def test_moved_row__that_another_process_moved_before(make_post: Any, make_comment: Any, cached: Any) -> None:
    """The instance in memory says A -> C, but its row was at B."""
    a, b, c = make_post(), make_post(), make_post()
    comment = make_comment(post=a)
    Comment.objects.filter(pk=comment.pk).update(post=b)
    keys = [f"post:{post.pk}" for post in (a, b, c)]
    cached(*keys)
    comment.post = c
    comment.save()
    assert gone(*keys) >= set(keys[1:])


def test_moved_row__by_update_fields(make_post: Any, make_comment: Any, cached: Any) -> None:
    old, new = make_post(), make_post()
    comment = make_comment(post=old)
    keys = [f"post:{post.pk}" for post in (old, new)]
    cached(*keys)
    comment.post = new
    comment.save(update_fields=["post"])
    assert gone(*keys) == set(keys)


def test_save__of_other_fields_asks_the_database_nothing(
    make_post: Any, by_author: Any, django_assert_num_queries: Any, cached: Any
) -> None:
    post = make_post()
    cached(f"author:{post.author_id}:posts")
    with django_assert_num_queries(1):
        post.save(update_fields=["title"])
    assert gone(f"author:{post.author_id}:posts") == {f"author:{post.author_id}:posts"}


def test_save__of_a_row_that_cannot_move_asks_the_database_nothing(
    make_user: Any, django_assert_num_queries: Any
) -> None:
    user = make_user()
    with django_assert_num_queries(1):
        user.save()


def test_delete__of_an_instance_older_than_its_row(make_post: Any, make_comment: Any, cached: Any) -> None:
    a, b = make_post(), make_post()
    comment = make_comment(post=a)
    Comment.objects.filter(pk=comment.pk).update(post=b)
    cached(f"post:{b.pk}")
    comment.delete()
    assert gone(f"post:{b.pk}") == {f"post:{b.pk}"}


def test_delete__cascades(make_post: Any, make_comment: Any, make_user: Any, cached: Any) -> None:
    post, reader = make_post(), make_user()
    make_comment(post=post, author=reader)
    cached(f"post:{post.pk}", f"user:{reader.pk}:profile")
    reader.delete()
    assert gone(f"post:{post.pk}", f"user:{reader.pk}:profile") == {
        f"post:{post.pk}",
        f"user:{reader.pk}:profile",
    }


def test_delete__of_a_queryset(make_post: Any, make_comment: Any, cached: Any) -> None:
    post = make_post()
    make_comment(post=post)
    cached(f"post:{post.pk}", "popular_posts")
    Post.objects.filter(pk=post.pk).delete()
    assert gone(f"post:{post.pk}", "popular_posts") == {f"post:{post.pk}", "popular_posts"}


def test_delete__of_a_model_that_no_job_depends_on_stays_fast() -> None:
    assert not pre_delete.has_listeners(Session)
    assert pre_delete.has_listeners(Post)


def test_proxy__is_its_model(make_post: Any, cached: Any) -> None:
    class PostInReview(Post):
        class Meta:
            proxy = True
            app_label = "myapp"

    try:
        warm_many("proxied:{id}", ids=list, name="proxied", depends_on={PostInReview: "id"})(dict)
        post = make_post()
        cached(f"proxied:{post.pk}", f"post:{post.pk}")
        PostInReview.objects.get(pk=post.pk).save()
        assert gone(f"proxied:{post.pk}", f"post:{post.pk}") == {f"proxied:{post.pk}", f"post:{post.pk}"}
    finally:
        del apps.all_models["myapp"]["postinreview"]
        apps.clear_cache()


def test_transaction__invalidates_at_its_commit_and_not_before(make_post: Any, cached: Any) -> None:
    post = make_post()
    cached("popular_posts", f"post:{post.pk}")
    with transaction.atomic():
        post.save()
        assert gone("popular_posts", f"post:{post.pk}") == set()
    assert gone("popular_posts", f"post:{post.pk}") == {"popular_posts", f"post:{post.pk}"}


def test_transaction__rolled_back_changes_nothing(make_post: Any, cached: Any, redis_client: Redis) -> None:
    post = make_post()
    cached("popular_posts", f"post:{post.pk}")
    redis_client.config_resetstat()
    with pytest.raises(Rollback), transaction.atomic():
        post.title = "Never"
        post.save()
        raise Rollback
    assert gone("popular_posts", f"post:{post.pk}") == set()
    assert "cmdstat_evalsha" not in redis_client.info("commandstats")


def test_savepoint__rolled_back_changes_nothing(make_post: Any, cached: Any) -> None:
    kept, undone = make_post(), make_post()
    cached(f"post:{kept.pk}", f"post:{undone.pk}")
    with transaction.atomic():
        kept.save()
        with pytest.raises(Rollback), transaction.atomic():
            undone.save()
            raise Rollback
        with transaction.atomic():
            kept.save()
    assert gone(f"post:{kept.pk}", f"post:{undone.pk}") == {f"post:{kept.pk}"}


def test_savepoint__first_change_rolled_back_and_a_later_one_kept(make_post: Any, cached: Any) -> None:
    kept, undone = make_post(), make_post()
    cached(f"post:{kept.pk}", f"post:{undone.pk}")
    with transaction.atomic():
        with pytest.raises(Rollback), transaction.atomic():
            undone.save()
            raise Rollback
        kept.save()
    assert gone(f"post:{kept.pk}", f"post:{undone.pk}") == {f"post:{kept.pk}"}


def test_savepoint__outer_one_rolled_back_with_the_inner_ones(make_post: Any, cached: Any) -> None:
    post = make_post()
    cached(f"post:{post.pk}")
    with transaction.atomic(), pytest.raises(Rollback), transaction.atomic():
        with transaction.atomic():
            post.save()
        raise Rollback
    assert gone(f"post:{post.pk}") == set()


def test_transaction__is_one_round_trip(make_post: Any, make_comment: Any, redis_client: Redis) -> None:
    posts = [make_post() for _ in range(5)]
    redis_client.config_resetstat()
    with transaction.atomic():
        for post in posts:
            with transaction.atomic():
                post.save()
            make_comment(post=post)
    assert redis_client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1


def test_transaction__invalidates_before_later_callbacks_of_the_project(make_post: Any, cached: Any) -> None:
    post = make_post()
    cached(f"post:{post.pk}")
    seen = []
    with transaction.atomic():
        with transaction.atomic():
            post.save()
        transaction.on_commit(lambda: seen.append(gone(f"post:{post.pk}")))
        with transaction.atomic():
            post.save()
    assert seen == [{f"post:{post.pk}"}]


@pytest.mark.parametrize("durable", [True, False])
def test_transaction__invalidates_before_earlier_callbacks_of_the_project(
    make_post: Any, cached: Any, settings: Any, durable: bool
) -> None:
    """Also before one that raises, after which Django calls no other."""
    settings.WARMER_DURABLE_INVALIDATION = durable
    post = make_post()
    cached("popular_posts", f"post:{post.pk}")
    seen = []

    def fail() -> None:
        seen.append(gone("popular_posts", f"post:{post.pk}"))
        raise Rollback

    with pytest.raises(Rollback), transaction.atomic():
        transaction.on_commit(fail)
        with transaction.atomic():
            transaction.on_commit(fail)
            post.save()
    assert seen == [{"popular_posts", f"post:{post.pk}"}]


def test_transaction__after_a_rolled_back_one_still_invalidates(make_post: Any, cached: Any) -> None:
    """Also when something keeps the callbacks of the first one alive."""
    post = make_post()
    cached(f"post:{post.pk}")
    held = []
    with pytest.raises(Rollback), transaction.atomic():
        post.save()
        held.extend(connection.run_on_commit)
        raise Rollback
    with transaction.atomic():
        post.save()
    assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}
    assert held


@pytest.mark.django_db(transaction=False)
def test_transaction__captured_callbacks_of_a_test_case(
    make_post: Any, cached: Any, django_capture_on_commit_callbacks: Any
) -> None:
    post = make_post()  # pending in the test's own transaction
    cached(f"post:{post.pk}")
    with django_capture_on_commit_callbacks(execute=True):
        post.save()
    assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}


@pytest.mark.django_db(transaction=False)
def test_transaction__callbacks_captured_after_one_of_the_project(
    make_post: Any, cached: Any, django_capture_on_commit_callbacks: Any
) -> None:
    transaction.on_commit(lambda: None)
    post = make_post()
    cached(f"post:{post.pk}")
    with django_capture_on_commit_callbacks(execute=True):
        transaction.on_commit(lambda: None)
        post.save()
    assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}


@pytest.mark.parametrize("way", ["add", "remove", "clear", "set", "reverse add", "reverse clear"])
def test_m2m__invalidates_both_ends_as_declared(make_user: Any, cached: Any, way: str) -> None:
    through = CustomUser.groups.through
    warm_many("user:{id}:groups", ids=list, name="groups", depends_on={through: "customuser_id"})(dict)
    user, other = make_user(), make_user()
    group = Group.objects.create(name="editors")
    if "add" not in way and way != "set":
        user.groups.add(group)
    keys = [f"user:{user.pk}:groups", f"user:{other.pk}:groups"]
    cached(*keys)
    match way:
        case "add":
            user.groups.add(group)
        case "remove":
            user.groups.remove(group)
        case "clear":
            user.groups.clear()
        case "set":
            user.groups.set([group])
        case "reverse add":
            group.user_set.add(user)
        case "reverse clear":
            group.user_set.clear()
    assert gone(*keys) == {keys[0]}


def test_m2m__rolled_back_changes_nothing(make_user: Any, cached: Any) -> None:
    through = CustomUser.groups.through
    warm_many("user:{id}:groups", ids=list, name="groups", depends_on={through: "customuser_id"})(dict)
    user = make_user()
    cached(f"user:{user.pk}:groups")
    with pytest.raises(Rollback), transaction.atomic():
        user.groups.add(Group.objects.create(name="editors"))
        raise Rollback
    assert gone(f"user:{user.pk}:groups") == set()


def test_dependency__path_over_a_relation(make_post: Any, make_comment: Any, cached: Any) -> None:
    warm_many("a:{id}", ids=list, name="a", depends_on={Comment: "post__author_id"})(dict)
    old, new = make_post(), make_post()
    comment = make_comment(post=old)
    keys = [f"a:{old.author_id}", f"a:{new.author_id}"]
    cached(*keys)
    comment.post = new
    comment.save()
    assert gone(*keys) == set(keys)


def test_dependency__function_of_the_instance(make_post: Any, cached: Any) -> None:
    def ids(post: Post) -> list[str]:
        return [post.slug, "everyone"]

    warm_many("slug:{id}", ids=list, name="slugs", depends_on={Post: ids})(dict)
    post = make_post(slug="old")
    cached("slug:old", "slug:new", "slug:everyone")
    post.slug = "new"
    post.save()
    assert gone("slug:old", "slug:new", "slug:everyone") == {"slug:old", "slug:new", "slug:everyone"}


def test_dependency__function_that_fails_costs_the_job_and_not_the_save(
    make_post: Any, cached: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def ids(post: Post) -> list[str]:
        raise ValueError("no ids")

    warm_many("f:{id}", ids=list, name="f", depends_on={Post: ids})(dict)
    cached("f:1", "f:2")
    make_post()
    assert gone("f:1", "f:2") == {"f:1", "f:2"}
    assert "all of its keys are invalidated: ValueError: no ids" in caplog.text


def test_dependency__list_on_a_keyed_job_invalidates_every_key(make_post: Any, cached: Any) -> None:
    warm_many("all:{id}", ids=list, name="all", depends_on=[Post])(dict)
    cached("all:1", "all:2", "other:1")
    make_post()
    assert gone("all:1", "all:2", "other:1") == {"all:1", "all:2"}


def test_dependency__none_is_no_id(make_post: Any) -> None:
    warm_many("p:{id}", ids=list, name="p", depends_on={Post: "published_at"})(dict)
    heard: list[Any] = []
    keys_invalidated.connect(lambda sender, **_: heard.append(sender.name), weak=False, dispatch_uid="t")
    try:
        make_post(published_at=None)
    finally:
        keys_invalidated.disconnect(dispatch_uid="t")
    assert "p" not in heard


def test_invalidate_for__queryset_and_instances(make_post: Any, cached: Any) -> None:
    posts = [make_post() for _ in range(3)]
    keys = [f"post:{post.pk}" for post in posts]
    cached(*keys, "popular_posts")
    some = Post.objects.filter(pk__in=[posts[0].pk, posts[1].pk])
    some.update(title="Updated")
    assert gone(*keys, "popular_posts") == set()
    invalidate_for(some)
    assert gone(*keys, "popular_posts") == {*keys[:2], "popular_posts"}
    invalidate_for([posts[2]])
    assert gone(keys[2]) == {keys[2]}
    cached(keys[0])
    invalidate_for(posts[0])
    assert gone(keys[0]) == {keys[0]}


def test_invalidate_for__inside_a_transaction_waits_for_the_commit(make_post: Any, cached: Any) -> None:
    post = make_post()
    cached(f"post:{post.pk}")
    with transaction.atomic():
        invalidate_for(post)
        assert gone(f"post:{post.pk}") == set()
    assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}


def test_invalidate__by_hand(cached: Any) -> None:
    single: Any = warm("one", name="one")(lambda: 1)
    keyed: Any = warm_many("many:{id}", ids=list, name="many")(dict)
    cached("one", "many:1", "many:2", "many:3")
    single.invalidate()
    keyed.invalidate([1])
    assert gone("one", "many:1", "many:2") == {"one", "many:1"}
    keyed.invalidate()
    assert gone("many:2", "many:3") == {"many:2", "many:3"}


def test_save__with_the_cache_down_succeeds_and_says_so(
    make_post: Any, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    post = make_post()
    redis_server.stop()
    post.title = "Saved"
    post.save()
    assert Post.objects.get(pk=post.pk).title == "Saved"
    assert "Could not invalidate" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


@pytest.fixture
def outcome(make_post: Any, cached: Any, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return a function that saves a post, sees that it is saved and invalidated, and returns the log."""
    post = make_post()
    cached(f"post:{post.pk}")

    def save() -> str:
        caplog.clear()
        post.title = "Saved"
        post.save()
        assert Post.objects.get(pk=post.pk).title == "Saved"
        assert gone(f"post:{post.pk}") == {f"post:{post.pk}"}
        return "\n".join(each.message for each in caplog.records if each.name.startswith("warmer"))

    return save


def test_save__with_a_sweep_that_fails_says_what_is_lost(
    outcome: Any, cached: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WARMER_DURABLE_INVALIDATION = False

    def away(_: object) -> None:
        raise StoreUnavailable("away")

    warm_many("w:{id}", ids=list, name="w", depends_on=[Post])(dict)
    warm_many("v:{id}", ids=list, name="v", depends_on=[Post])(dict)
    cached("w:1", "v:1")
    sweep = RedisStore.sweep
    monkeypatch.setattr(
        RedisStore, "sweep", lambda self: away(self) if self.template.prefix == "w:" else sweep(self)
    )
    said = outcome()
    assert "Could not invalidate w, v, and nothing keeps it: old values stay until their timeout" in said
    assert "call invalidate()" in said
    assert gone("w:1", "v:1") == {"v:1"}


def test_save__with_a_refresh_that_cannot_be_asked_for_says_so(outcome: Any, monkeypatch: Any) -> None:
    warm("r", name="r", depends_on=[Post], on_change="refresh")(lambda: 1)

    def locked(*_: Any, **__: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr("warmer.ledger.open_run", locked)
    said = outcome()
    assert "Could not ask for a refresh of r" in said
    assert "manage.py warm_cache r --only-missing" in said
    assert "database is locked" in said


def test_save__with_a_receiver_that_fails_says_so_and_calls_the_others(outcome: Any) -> None:
    heard = []

    def fail(sender: Any, **_: Any) -> None:
        raise LookupError(f"no {sender.name}")

    def hear(sender: Any, **_: Any) -> None:
        heard.append(sender.name)

    keys_invalidated.connect(fail)
    keys_invalidated.connect(hear)
    try:
        said = outcome()
    finally:
        keys_invalidated.disconnect(fail)
        keys_invalidated.disconnect(hear)
    assert "A receiver of keys_invalidated failed for posts" in said
    assert "LookupError: no posts" in said
    assert "posts" in heard


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_save__with_a_database_that_keeps_nothing_says_so(
    make_post: Any, redis_server: RedisServer, caplog: Any, monkeypatch: Any, error: type[Exception]
) -> None:
    post = make_post()
    redis_server.stop()

    def fail(_: object) -> None:
        raise error("gone")

    monkeypatch.setattr("warmer.outbox._has_table", fail)
    post.save()
    assert "could not be kept" in caplog.text
    assert "and nothing keeps it" in caplog.text
