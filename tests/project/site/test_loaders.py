"""The loaders: what they give, in how many queries, and that indexes made for them answer these without a sort."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from myapp.models import Post
from myapp.warming import excerpt, popular_post_ids, popular_posts, posts
from tests.support.rows import a_comment, a_post, a_user
from users.warming import top_user_ids, user_profiles

pytestmark = pytest.mark.django_db


NumQueries = Callable[[int], Any]


def test_user_profiles__load_a_batch_of_plain_values_in_one_query(django_assert_num_queries: NumQueries) -> None:
    user = a_user(first_name="Grace", last_name="Hopper", location="Arlington", bio="Moths.", activity=7)
    nameless = a_user(username="anon", first_name="", last_name="")
    inactive = a_user(is_active=False)

    with django_assert_num_queries(1):
        profiles = user_profiles([user.pk, nameless.pk, inactive.pk, 987654])

    assert list(profiles) == [user.pk, nameless.pk]
    profile = profiles[user.pk]
    assert profile == {
        "id": user.pk,
        "username": user.username,
        "email": user.email,
        "first_name": "Grace",
        "last_name": "Hopper",
        "full_name": "Grace Hopper",
        "location": "Arlington",
        "bio": "Moths.",
        "activity": 7,
        "date_joined": user.date_joined.isoformat(),
    }
    assert json.loads(json.dumps(profile)) == profile
    assert profiles[nameless.pk]["full_name"] == "anon"


@pytest.mark.django_db(transaction=True)
def test_user_profiles__login_leaves_the_profile_cached(client: Client) -> None:
    user = a_user()
    user_profiles.get(user.pk)
    client.force_login(user)
    user.refresh_from_db()
    assert user.last_login is not None
    assert cache.get(user_profiles.key(user.pk)) is not None
    user.location = "Arlington"
    user.save(update_fields=["location"])
    assert cache.get(user_profiles.key(user.pk)) is None


def test_top_user_ids__are_the_most_active_of_the_active(django_assert_num_queries: NumQueries) -> None:
    users = [a_user(activity=number // 2) for number in range(104)]
    a_user(activity=1000, is_active=False)

    with django_assert_num_queries(1):
        ids = top_user_ids()

    # The activity is the same for two and two: the one with the lower id comes first.
    assert ids == [user.pk for user in sorted(users, key=lambda user: (-user.activity, user.pk))][:100]


def test_popular_posts__load_in_one_query(django_assert_num_queries: NumQueries) -> None:
    post = a_post(is_popular=True, views=3)

    with django_assert_num_queries(1):
        loaded = popular_posts()

    assert loaded == [
        {
            "id": post.pk,
            "title": post.title,
            "slug": post.slug,
            "excerpt": post.body.partition("\n")[0],
            "author_id": post.author_id,
            "views": 3,
            "published_at": "2026-03-04T05:06:00+00:00",
        }
    ]
    assert json.loads(json.dumps(loaded)) == loaded


def test_popular_post_ids__are_the_published_popular_ones(django_assert_num_queries: NumQueries) -> None:
    low, high = (a_post(is_popular=True, views=views) for views in (1, 2))
    a_post(is_popular=True, published_at=None)
    a_post()

    with django_assert_num_queries(1):
        assert popular_post_ids() == [high.pk, low.pk]


def test_posts__load_a_batch_in_two_queries__without_drafts(django_assert_num_queries: NumQueries) -> None:
    batch = [a_post() for _ in range(4)]
    draft = a_post(published_at=None)
    for post in [*batch, draft]:
        a_comment(post)
        a_comment(post)

    with django_assert_num_queries(2):
        loaded = posts([draft.pk, *(post.pk for post in batch)])
    with django_assert_num_queries(1):  # it does not look for comments of nothing
        assert posts([draft.pk, 987654]) == {}

    assert {id: len(post["comments"]) for id, post in loaded.items()} == {post.pk: 2 for post in batch}
    assert json.loads(json.dumps(list(loaded.values()))) == list(loaded.values())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("One.\n\nTwo.", "One."),
        ("One.\r\n\r\nTwo.", "One."),
        ("\n\n  One\nstill one.\n\nTwo.", "One still one."),
        ("", ""),
        ("word " * 50, " ".join(["word"] * 36) + "…"),
    ],
    ids=["one paragraph", "from a form", "folded", "empty", "cut"],
)
def test_excerpt__is_the_beginning_of_the_first_paragraph(body: str, expected: str) -> None:
    assert excerpt(body) == expected


# -- indexes ------------------------------------------------------------------------------------------
def plan_of_last_query(load: Callable[[], Any]) -> str:
    with CaptureQueriesContext(connection) as captured:
        load()
    query = captured.captured_queries[-1]["sql"]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A table of a few rows is read whole, whatever the indexes. These settings end with the
            # transaction.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            cursor.execute(f"EXPLAIN {query}")
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


@pytest.mark.parametrize(
    ("load", "index"),
    [
        (top_user_ids, "users_most_active"),
        (popular_posts, "myapp_popular_posts"),
        (popular_post_ids, "myapp_popular_posts"),
        (lambda: posts(list(Post.objects.values_list("pk", flat=True))), "myapp_comments_of_post"),
    ],
    ids=["top_user_ids", "popular_posts", "popular_post_ids", "posts"],
)
def test_loader__reads_its_index_in_order(load: Callable[[], Any], index: str) -> None:
    for _ in range(3):
        a_comment(a_post(is_popular=True))
    plan = plan_of_last_query(load)
    assert index in plan
    if index != "myapp_comments_of_post":
        assert not re.search("TEMP B-TREE|Sort", plan)  # in the words of either database
