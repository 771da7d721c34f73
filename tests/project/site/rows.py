"""Rows to test with."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from myapp.models import Comment, Post
from users.models import CustomUser

PUBLISHED = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)

_numbers = count(1)


def a_user(**fields: Any) -> CustomUser:
    """Create an active user."""
    number = next(_numbers)
    defaults = {
        "username": f"user{number}",
        "email": f"user{number}@example.org",
        "first_name": "Ada",
        "last_name": f"Number{number}",
    }
    return CustomUser.objects.create(**defaults | fields)


def a_post(**fields: Any) -> Post:
    """Create a published post that is not popular."""
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "title": f"Post {number}",
        "slug": f"post-{number}",
        "body": f"First of {number}.\n\nSecond.",
        "published_at": PUBLISHED,
    }
    if "author" not in fields:
        defaults["author"] = a_user()
    return Post.objects.create(**defaults | fields)


def a_comment(post: Post, **fields: Any) -> Comment:
    """Create a comment."""
    defaults: dict[str, Any] = {"body": f"Comment {next(_numbers)}"}
    if "author" not in fields:
        defaults["author"] = a_user()
    return Comment.objects.create(post=post, **defaults | fields)
