"""The user model."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.urls import reverse


class CustomUser(AbstractUser):
    """A person who can log in. While active, they have a public profile."""

    email = models.EmailField(
        "email address",
        unique=True,
        error_messages={"unique": "A user with that email address already exists."},
    )
    location = models.CharField(max_length=80, blank=True)
    bio = models.TextField(max_length=500, blank=True)
    activity = models.PositiveIntegerField(default=0, help_text="The number of actions in the last 30 days.")

    class Meta(AbstractUser.Meta):
        indexes = [
            # For `most_active_ids`: read in order, stops at the limit, never sorts the table.
            models.Index(
                fields=["-activity", "id"],
                condition=Q(is_active=True),
                name="users_most_active",
            ),
        ]

    def get_absolute_url(self) -> str:
        """Return the URL of the public profile, which only an active user has."""
        return reverse("users:profile", args=[self.pk])


def most_active_ids(limit: int) -> list[int]:
    """Return the ids of the active users with the most actions, in one query."""
    active = CustomUser.objects.filter(is_active=True)
    return list(active.order_by("-activity", "id").values_list("id", flat=True)[:limit])
