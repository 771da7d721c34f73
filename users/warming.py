"""The user profiles that are kept warm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from users.models import CustomUser, most_active_ids
from warmer import warm_many

WARM_PROFILES = 100
PROFILE_FIELDS = [
    "id",
    "username",
    "email",
    "first_name",
    "last_name",
    "location",
    "bio",
    "activity",
    "date_joined",
]


def top_user_ids() -> Sequence[int]:
    """Return the ids of the most active users, whose profiles are read most."""
    return most_active_ids(WARM_PROFILES)


@warm_many(
    "user:{id}:profile",
    ids=top_user_ids,
    depends_on={CustomUser: "id"},
    # Without `last_login`, so that a login does not invalidate the profile.
    fields={CustomUser: [*PROFILE_FIELDS, "is_active"]},
    every=timedelta(minutes=15),
    timeout=timedelta(hours=1),
)
def user_profiles(ids: Sequence[int]) -> Mapping[int, dict[str, Any]]:
    """Load profiles in one query. Inactive users have no public profile, and are left out."""
    rows = CustomUser.objects.filter(id__in=ids, is_active=True).values(*PROFILE_FIELDS)
    return {
        row["id"]: {
            **row,
            "full_name": f"{row['first_name']} {row['last_name']}".strip() or row["username"],
            "date_joined": row["date_joined"].isoformat(),
        }
        for row in rows
    }
