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

# The admin's "Now" takes the time from the editor's own clock, which may run ahead of ours.
CLOCK_TOLERANCE = timedelta(minutes=5)


class PostQuerySet(models.QuerySet["Post"]):
    """The posts that visitors can see."""

    def published(self) -> Self:
        """Keep what is on the site: a post with no publication date is a draft."""
        return self.filter(published_at__isnull=False)

    def popular(self) -> Self:
        """Keep the published posts that editors marked as popular, the most viewed first."""
        return self.published().filter(is_popular=True).order_by("-views", "id")


class Post(models.Model):
    """An article.

    `views` is a figure that a nightly import brings from the web server's statistics. Pages do
    not count: a save at each view would outdate the cached post at each view, and an `update()`
    that nobody is told about would leave the pages showing a wrong figure.
    """

    title = models.CharField(max_length=200)
    slug = models.SlugField(max_length=200, unique=True)
    body = models.TextField(help_text="Plain text. An empty line begins a new paragraph.")
    # An author who leaves is made inactive: their posts stay.
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="posts")
    views = models.PositiveIntegerField(default=0)
    is_popular = models.BooleanField("popular", default=False)
    published_at = models.DateTimeField(
        "published", null=True, blank=True, help_text="Empty: a draft, which visitors cannot see."
    )

    objects = PostQuerySet.as_manager()

    class Meta:
        indexes = [
            # Serves `popular()`: read in order, stops at the limit, never sorts the table.
            models.Index(
                fields=["-views", "id"],
                condition=Q(is_popular=True, published_at__isnull=False),
                name="myapp_popular_posts",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """Return the address of the post's page, which only a published post has."""
        return reverse("myapp:post", args=[self.pk, self.slug])

    def clean(self) -> None:
        """Refuse a publication date to come: a post with a date is on the site at once."""
        if self.published_at and self.published_at > timezone.now() + CLOCK_TOLERANCE:
            raise ValidationError(
                {"published_at": "This is in the future. Leave it empty until the post is due."}
            )


class Comment(models.Model):
    """What a reader wrote under a post."""

    # No index of its own: the one below begins with the same column.
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="comments", db_index=False)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="comments")
    body = models.TextField(max_length=2000)
    created_at = models.DateTimeField("written", default=timezone.now, editable=False)

    class Meta:
        indexes = [
            # Serves a post's comments in the order in which they were written.
            models.Index(fields=["post", "created_at", "id"], name="myapp_comments_of_post"),
        ]

    def __str__(self) -> str:
        return Truncator(self.body).chars(60)
