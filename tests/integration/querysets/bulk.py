"""Posts and comments behind querysets whose bulk methods invalidate, and what they are given."""

from __future__ import annotations

from typing import Any

from myapp.models import Comment, Post
from warmer.querysets import WarmingQuerySet

POSTS: Any = WarmingQuerySet(Post)
COMMENTS: Any = WarmingQuerySet(Comment)


def new_post(author: Any, slug: str, **fields: Any) -> Post:
    """Return a post that is not saved."""
    return Post(author=author, slug=slug, title="t", body="b", **fields)
