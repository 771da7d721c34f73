"""Rows to test with."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from myapp.models import Comment, Post
from users.models import CustomUser

PUBLISHED = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)

_numbers = count(1)


def a_user(**fields: Any) -> CustomUser:
    number = next(_numbers)
    defaults = {"username": f"user{number}", "email": f"user{number}@example.org"}
    return CustomUser.objects.create(**defaults | fields)


def a_post(**fields: Any) -> Post:
    """Create a published post that is not popular."""
    number = next(_numbers)
    defaults = {"title": f"Post {number}", "slug": f"post-{number}", "body": f"First of {number}.\n\nSecond."}
    return Post.objects.create(**defaults | {"published_at": PUBLISHED} | _by_somebody(fields))


def a_comment(post: Post | None = None, **fields: Any) -> Comment:
    if post is not None:
        fields["post"] = post
    return Comment.objects.create(**{"body": f"Comment {next(_numbers)}"} | _by_somebody(fields))


def _by_somebody(fields: dict[str, Any]) -> dict[str, Any]:
    return fields if {"author", "author_id"} & set(fields) else {"author": a_user(), **fields}
