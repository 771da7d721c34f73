"""The database answers the loaders' queries from the indexes made for them, without a sort."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from myapp.models import Post
from myapp.warming import popular_post_ids, popular_posts, posts
from tests.support.rows import a_comment, a_post
from users.warming import top_user_ids

pytestmark = pytest.mark.django_db


def plan_of_last_query(load: Callable[[], Any]) -> str:
    """Run a loader and return the plan of its last query."""
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
