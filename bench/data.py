"""The data of the benchmarks: users, their cached profiles, and the job for them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any

from django.core.cache import caches
from django.db.models import QuerySet
from django.utils import timezone

from users.models import CustomUser
from users.warming import PROFILE_FIELDS
from warmer import jobs, warm_many
from warmer.filling import loading

TIMEOUT_SECONDS = 3600
BATCH = 1_000
BIO = "Writes about old maps, the people who drew them and what they left out. "

Profile = dict[str, Any]


def create_users(count: int) -> list[int]:
    """Fill the database with users 1, 2, 3, ...; return their ids."""
    now = timezone.now()
    users = (
        CustomUser(
            id=number,
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
        for number in range(1, count + 1)
    )
    CustomUser.objects.bulk_create(users, batch_size=500)
    return list(range(1, count + 1))


def active_users() -> QuerySet[CustomUser]:
    return CustomUser.objects.filter(is_active=True)


def active_ids() -> Iterable[int]:
    return active_users().values_list("id", flat=True).iterator(chunk_size=BATCH)


def key_of(id: int) -> str:
    return f"user:{id}:profile"


def in_batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    return loading.in_batches(items, BATCH)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The content of a profile: plain columns, and for a whole profile also computed values."""

    fields: Sequence[str]
    is_whole: bool

    def of_row(self, row: Mapping[str, Any]) -> Profile:
        """Return the profile of a row, as `users/warming.py` makes it."""
        if not self.is_whole:
            return dict(row)
        return {
            **row,
            "full_name": f"{row['first_name']} {row['last_name']}".strip() or row["username"],
            "date_joined": row["date_joined"].isoformat(),
        }

    def from_objects(self) -> Iterator[Profile]:
        values = attrgetter(*self.fields)
        for user in active_users().iterator(chunk_size=BATCH):
            yield self.of_row(dict(zip(self.fields, values(user), strict=True)))

    def from_rows(self) -> Iterator[Profile]:
        return map(self.of_row, active_users().values(*self.fields).iterator(chunk_size=BATCH))

    def load(self, ids: Sequence[int]) -> dict[int, Profile]:
        """Load profiles in one query: the loader of the job."""
        rows = active_users().filter(id__in=ids).values(*self.fields)
        return {row["id"]: self.of_row(row) for row in rows}


WHOLE = Shape(fields=PROFILE_FIELDS, is_whole=True)
# Short columns only: no date, no long text.
PLAIN = Shape(fields=("id", "username", "email", "first_name", "last_name"), is_whole=False)


def declare_job(
    cache: str = "default",
    *,
    loader: Callable[[Sequence[int]], dict[int, Profile]] = WHOLE.load,
    **options: Any,
) -> Any:
    """Declare the job for all profiles in a cache; the project's own jobs are removed."""
    for name in ("user_profiles", "popular_posts", "posts"):
        if name in jobs:
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


def expect_all(alias: str, ids: Sequence[int], shape: Shape = WHOLE) -> Callable[..., None]:
    """Return a check that each profile is cached, correct, and has the right timeout."""
    expected = {
        key_of(profile["id"]): profile for batch in in_batches(ids) for profile in shape.load(batch).values()
    }

    def check(_: object = None) -> None:
        cache: Any = caches[alias]
        for keys in in_batches(expected):
            found = cache.get_many(keys)
            if wrong := [key for key in keys if found.get(key) != expected[key]]:
                raise AssertionError(f"{len(wrong)} profiles are not cached as they are, e.g. {wrong[0]}")
        for key in (key_of(ids[0]), key_of(ids[-1])):
            if not TIMEOUT_SECONDS - 120 < cache.ttl(key) <= TIMEOUT_SECONDS:
                raise AssertionError(f"{key} lives {cache.ttl(key)} s, not {TIMEOUT_SECONDS} s")

    return check


def write_pipelines(batches: Iterable[Mapping[str, bytes]], alias: str = "default") -> None:
    """Write encoded values with a pipeline of SET for each batch."""
    for batch in batches:
        pipeline = server_client(alias).pipeline()
        for key, value in batch.items():
            pipeline.set(key, value, px=TIMEOUT_SECONDS * 1000)
        pipeline.execute()


def server_client(alias: str = "default") -> Any:
    cache: Any = caches[alias]
    return cache.client.get_client(write=True)


def empty_cache() -> None:
    server_client().flushdb()
