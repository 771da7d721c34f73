"""The database answers the loaders' queries from the indexes made for them, without a sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from myapp.warming import popular_post_ids, popular_posts, posts
from tests.site.rows import a_comment, a_post
from users.warming import top_user_ids

pytestmark = pytest.mark.django_db


def plan_of_last_query(load: Callable[[], Any]) -> str:
    """Run a loader and return the plan of its last query."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
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


def sorts(plan: str) -> bool:
    """Return whether a plan sorts rows, in the words of either database."""
    return "TEMP B-TREE" in plan or "Sort" in plan


def test_top_user_ids__read_their_index_in_order() -> None:
    plan = plan_of_last_query(top_user_ids)

    assert "users_most_active" in plan
    assert not sorts(plan)


@pytest.mark.parametrize("load", [popular_posts, popular_post_ids], ids=["popular_posts", "ids"])
def test_popular_posts__read_their_index_in_order(load: Callable[[], Any]) -> None:
    a_post(is_popular=True)

    plan = plan_of_last_query(load)

    assert "myapp_popular_posts" in plan
    assert not sorts(plan)


def test_posts__find_comments_by_their_index() -> None:
    batch = [a_post() for _ in range(3)]
    a_comment(batch[0])

    plan = plan_of_last_query(lambda: posts([post.pk for post in batch]))

    assert "myapp_comments_of_post" in plan
