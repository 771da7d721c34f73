"""Rows for a whole site, and what a warm of it should leave in the cache."""

from random import Random

from django.core.cache import cache
from redis import Redis

from myapp.models import Post
from tests.support.rows import PUBLISHED
from users.models import CustomUser

USERS, INACTIVE, WARM_USERS = 130, 10, 100
POPULAR_POSTS = 12


def fill() -> list[CustomUser]:
    """Create users and posts; return the users whose profiles should be warm, the most active first."""
    activities = list(range(USERS))
    Random(7).shuffle(activities)  # so that neither the ids nor their order say who is active
    users = CustomUser.objects.bulk_create(
        CustomUser(
            username=f"user{number}",
            email=f"user{number}@example.org",
            first_name="Ada",
            last_name=f"Number {number}",
            activity=activity,
            is_active=activity < USERS - INACTIVE,  # the most active of all are not active users
        )
        for number, activity in enumerate(activities)
    )
    Post.objects.bulk_create(
        Post(
            title=f"Post {number}",
            slug=f"post-{number}",
            body="Once.\n\nTwice.",
            author=users[0],
            views=number,
            is_popular=number < POPULAR_POSTS,
            published_at=PUBLISHED,
        )
        for number in range(POPULAR_POSTS + 3)
    )
    by_activity = sorted(users, key=lambda user: -user.activity)
    return [user for user in by_activity if user.is_active][:WARM_USERS]


def profile_key(user: CustomUser) -> str:
    return f"user:{user.pk}:profile"


def lifetimes(server: Redis, pattern: str) -> dict[str, float]:
    """Return the seconds that each key lives whose name, as the project gives it, matches a pattern."""
    whole = cache.make_key("")
    found = [key.decode() for key in server.scan_iter(match=cache.make_key(pattern))]
    return {key.removeprefix(whole): server.pttl(key) / 1000 for key in found}
