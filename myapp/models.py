"""Posts and their comments."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.text import Truncator

# The admin's "Now" uses the editor's own clock, which may be ahead of ours.
CLOCK_TOLERANCE = timedelta(minutes=5)


class PostQuerySet(models.QuerySet["Post"]):
    """Queries for posts."""

    def published(self) -> Self:
        """Return published posts; a post without a publication date is a draft."""
        return self.filter(published_at__isnull=False)

    def popular(self) -> Self:
        """Return the published posts that editors marked as popular, most viewed first."""
        return self.published().filter(is_popular=True).order_by("-views", "id")


class Post(models.Model):
    """An article.

    `views` is imported nightly from the web server's statistics. Pages do not count views themselves, because
    each save would invalidate the cached post.
    """

    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200, unique=True)
    body = models.TextField(help_text="Plain text. An empty line begins a new paragraph.")
    # An author who leaves is deactivated; their posts stay.
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="posts")
    views = models.PositiveIntegerField(default=0)
    is_popular = models.BooleanField("popular", default=False)
    published_at = models.DateTimeField(
        "published", null=True, blank=True, help_text="Empty: a draft, which visitors cannot see."
    )

    objects = PostQuerySet.as_manager()

    class Meta:
        indexes = [
            # For `popular()`: read in order, stops at the limit, never sorts the table.
            models.Index(
                fields=["-views", "id"],
                condition=Q(is_popular=True, published_at__isnull=False),
                name="myapp_popular_posts",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """Return the URL of the post's page, which only a published post has."""
        return reverse("myapp:post", args=[self.pk, self.slug])

    def clean(self) -> None:
        """Reject a future publication date: a post with a date is public immediately."""
        if self.published_at and self.published_at > timezone.now() + CLOCK_TOLERANCE:
            raise ValidationError(
                {"published_at": "This is in the future. Leave it empty until the post is due."}
            )


class Comment(models.Model):
    """A reader's comment on a post."""

    # No separate index: the one below begins with the same column.
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="comments", db_index=False)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="comments")
    body = models.TextField(max_length=2000)
    created_at = models.DateTimeField("written", default=timezone.now, editable=False)

    class Meta:
        indexes = [
            # For a post's comments in chronological order.
            models.Index(fields=["post", "created_at", "id"], name="myapp_comments_of_post"),
        ]

    def __str__(self) -> str:
        return Truncator(self.body).chars(60)
