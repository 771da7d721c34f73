"""Warming jobs for posts.

Values contain only columns of the models that their job depends on. So authors are ids here, and pages take
their names from `users.warming.user_profiles`. With names in these values, each login (which saves the user)
would invalidate them, and without the dependency they would become wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.utils.text import Truncator, normalize_newlines

from myapp.models import Comment, Post
from warmer import warm, warm_many

FRONT_PAGE_POSTS = 10
WARM_POSTS = 100
EXCERPT_WORDS = 36


@warm(
    "popular_posts",
    depends_on=[Post],
    every=timedelta(minutes=15),
    timeout=timedelta(hours=1),
)
def popular_posts() -> list[dict[str, Any]]:
    """Load the front page's data of the 10 popular posts with the most views."""
    rows = Post.objects.popular().values("id", "title", "slug", "body", "author_id", "views", "published_at")
    return [
        {
            "id": row["id"],
            "title": row["title"],
            "slug": row["slug"],
            "excerpt": excerpt(row["body"]),
            "author_id": row["author_id"],
            "views": row["views"],
            "published_at": row["published_at"].isoformat(),
        }
        for row in rows[:FRONT_PAGE_POSTS]
    ]


def popular_post_ids() -> Sequence[int]:
    """Return the most-read posts: those on the front page and other popular ones."""
    return list(Post.objects.popular().values_list("id", flat=True)[:WARM_POSTS])


@warm_many(
    "post:{id}",
    ids=popular_post_ids,
    depends_on={Post: "id", Comment: "post_id"},
    every=timedelta(minutes=15),
    timeout=timedelta(hours=1),
    # Posts are long and include their comments; a batch should stay below a few megabytes.
    batch_size=100,
)
def posts(ids: Sequence[int]) -> Mapping[int, dict[str, Any]]:
    """Load published posts with their comments, in two queries regardless of their number."""
    rows = Post.objects.published().filter(id__in=ids)
    found: dict[int, dict[str, Any]] = {
        row["id"]: {**row, "published_at": row["published_at"].isoformat(), "comments": []}
        for row in rows.values("id", "title", "slug", "body", "author_id", "views", "published_at")
    }
    comments = Comment.objects.filter(post_id__in=list(found))
    for comment in comments.order_by("post_id", "created_at", "id").values():
        found[comment["post_id"]]["comments"].append(
            {
                "id": comment["id"],
                "author_id": comment["author_id"],
                "body": comment["body"],
                "created_at": comment["created_at"].isoformat(),
            }
        )
    return found


def excerpt(body: str) -> str:
    """Return the beginning of a post's first paragraph."""
    # Forms send "\r\n" as the end of a line.
    first_paragraph = normalize_newlines(body).strip().partition("\n\n")[0]
    return Truncator(" ".join(first_paragraph.split())).words(EXCERPT_WORDS)
