"""The data of the benchmarks: users, their profiles as one caches them, and the job for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.cache import caches
from django.db.models import QuerySet
from django.utils import timezone

from users.models import CustomUser
from warmer import jobs, warm_many
from warmer.api import KeyedJob

TIMEOUT_SECONDS = 3600
BATCH = 1_000
FIELDS = (
    "id",
    "username",
    "email",
    "first_name",
    "last_name",
    "location",
    "bio",
    "activity",
    "date_joined",
)
# What it takes to name and address a person: no date, no long text.
PLAIN_FIELDS = ("id", "username", "email", "first_name", "last_name")
BIO = "Writes about old maps, the people who drew them and what they left out. "

Profile = dict[str, Any]


def create_users(count: int) -> list[int]:
    """Fill the database; return the ids."""
    now = timezone.now()
    CustomUser.objects.bulk_create(
        (
            CustomUser(
                username=f"user{number}",
                email=f"user{number}@example.com",
                first_name="Ada",
                last_name=f"Lovelace-{number}",
                location="London",
                bio=BIO * (number % 4),
                activity=number % 1000,
                date_joined=now - timedelta(minutes=number),
                password="!",
            )
            for number in range(count)
        ),
        batch_size=500,
    )
    return list(CustomUser.objects.order_by("id").values_list("id", flat=True))


def active_users() -> QuerySet[CustomUser]:
    """Return the users who have a profile."""
    return CustomUser.objects.filter(is_active=True)


def active_ids() -> Iterable[int]:
    """Return their ids, as a stream."""
    return active_users().values_list("id", flat=True).iterator(chunk_size=BATCH)


def key_of(id: int) -> str:
    """Return the key of a profile, as one writes it by hand."""
    return f"user:{id}:profile"


def of_user(user: CustomUser) -> Profile:
    """Return the profile of a model object."""
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "location": user.location,
        "bio": user.bio,
        "activity": user.activity,
        "full_name": f"{user.first_name} {user.last_name}".strip() or user.username,
        "date_joined": user.date_joined.isoformat(),
    }


def of_row(row: Mapping[str, Any]) -> Profile:
    """Return the same profile of a row of `FIELDS`, as `users/warming.py` makes it."""
    return {
        **row,
        "full_name": f"{row['first_name']} {row['last_name']}".strip() or row["username"],
        "date_joined": row["date_joined"].isoformat(),
    }


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a profile holds: how it is made of a model object, and of a row."""

    fields: tuple[str, ...]
    of_user: Callable[[CustomUser], Profile]
    of_row: Callable[[dict[str, Any]], Profile]

    def of_users(self) -> Iterator[Profile]:
        """Read all profiles by model objects."""
        return map(self.of_user, active_users().iterator(chunk_size=BATCH))

    def of_rows(self) -> Iterator[Profile]:
        """Read all profiles by rows, which is the fast way."""
        return map(self.of_row, active_users().values(*self.fields).iterator(chunk_size=BATCH))

    def load(self, ids: Sequence[int]) -> dict[int, Profile]:
        """Load profiles in one query: the loader of the job."""
        rows = active_users().filter(id__in=ids).values(*self.fields)
        return {row["id"]: self.of_row(row) for row in rows}


def plain_of_user(user: CustomUser) -> Profile:
    """Return the plain profile of a model object."""
    return {name: getattr(user, name) for name in PLAIN_FIELDS}


WHOLE = Shape(fields=FIELDS, of_user=of_user, of_row=of_row)
PLAIN = Shape(fields=PLAIN_FIELDS, of_user=plain_of_user, of_row=dict)
load = WHOLE.load


def declare_job(
    cache: str = "default",
    *,
    loader: Callable[[Sequence[int]], dict[int, Profile]] = load,
    **options: Any,
) -> KeyedJob[Any]:
    """Declare the job for the profiles in a cache; the project's own jobs are forgotten."""
    if "user_profiles" in jobs:
        for name in list(jobs):
            jobs.unregister(name)
    declare = warm_many(
        "user:{id}:profile",
        name=f"profiles_{cache}",
        ids=active_ids,
        cache=cache,
        depends_on={CustomUser: "id"},
        batch_size=BATCH,
        timeout=timedelta(seconds=TIMEOUT_SECONDS),
        **options,
    )
    return declare(loader)


def expect_all(alias: str, ids: Sequence[int], shape: Shape = WHOLE) -> Callable[[], None]:
    """Return a check that each profile is cached, right, and lives as long as it should."""
    expected = {key_of(id): profile for id, profile in load_all(ids, shape).items()}

    def check() -> None:
        cache: Any = caches[alias]
        keys = list(expected)
        for at in range(0, len(keys), BATCH):
            some = keys[at : at + BATCH]
            found = cache.get_many(some)
            wrong = [key for key in some if found.get(key) != expected[key]]
            if wrong:
                raise AssertionError(f"{len(wrong)} profiles are not cached as they are, e.g. {wrong[0]}")
        for key in (keys[0], keys[-1]):
            if not TIMEOUT_SECONDS - 120 < cache.ttl(key) <= TIMEOUT_SECONDS:
                raise AssertionError(f"{key} lives {cache.ttl(key)} s, not {TIMEOUT_SECONDS} s")

    return check


def load_all(ids: Sequence[int], shape: Shape = WHOLE) -> dict[int, Profile]:
    """Load any number of profiles, batch by batch, as a job does."""
    profiles: dict[int, Profile] = {}
    for at in range(0, len(ids), BATCH):
        profiles |= shape.load(ids[at : at + BATCH])
    return profiles
