"""Fixtures of the races: a job over real rows, for every way in which it is filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction

from myapp.models import Post
from tests.integration.conftest import make_comment, make_post, make_user, own_jobs
from tests.integration.others import await_end_or_lock
from warmer import warm, warm_many
from warmer.models import PendingInvalidation, Trigger
from warmer.tasks import request_refresh, request_run

__all__ = ["make_comment", "make_post", "make_user", "own_jobs"]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A job over one post's title, with one way of filling its key.

    Attributes:
        fill: fills the key once, by the way under test.
        cached: what is in the cache now; None: nothing.
        post: the row that the loader reads.
    """

    name: str
    job: Any
    key: str
    post: Post
    fill: Callable[[], object]

    @property
    def cached(self) -> Any:
        return cache.get(self.key)

    def change(self, title: str) -> None:
        """Commit a change of the row, with its invalidation."""
        post = Post.objects.get(pk=self.post.pk)
        post.title = title
        post.save()


def in_thread(*calls: Any) -> list[Thread]:
    def call(each: Any) -> None:
        try:
            each()
        finally:
            connection.close()

    threads = [Thread(target=call, args=(each,)) for each in calls]
    for thread in threads:
        thread.start()
    return threads


def while_ours_is_open(change: Callable[[], object], meanwhile: Callable[[], object]) -> None:
    """Change in a transaction, before whose commit another commits, or waits for us."""
    with transaction.atomic():
        change()
        (other,) = in_thread(meanwhile)
        await_end_or_lock(other)
    other.join()
    assert not PendingInvalidation.objects.exists()


def _keyed(post: Post) -> Any:
    return warm_many("title:{id}", ids=lambda: [post.pk], name="titles", depends_on={Post: "id"})(
        lambda ids: dict(Post.objects.filter(pk__in=ids).values_list("pk", "title"))
    )


def _single(post: Post) -> Any:
    return warm("the-title", name="title", depends_on=[Post])(
        lambda: Post.objects.values_list("title", flat=True).get(pk=post.pk)
    )


# A snapshot that others commit past, and many writers at once: SQLite has neither.
ON_POSTGRESQL = ("test_snapshot.py", "test_random.py")

WAYS: dict[str, Callable[[Any, Post], Callable[[], object]]] = {
    "warm": lambda job, post: job.warm,
    "read": lambda job, post: lambda: job.get(*([post.pk] if job.spec.keyed else [])),
    "run": lambda job, post: lambda: request_run(job.name, Trigger.COMMAND),
    "refresh": lambda job, post: lambda: request_refresh(job.spec),
}


@pytest.fixture(
    params=[f"{kind} {way}" for kind in ("single", "keyed") for way in WAYS] + ["keyed read many"]
)
def filled(request: pytest.FixtureRequest, make_post: Any, own_jobs: None) -> Filled:
    """A job, with one of the ways of filling it."""
    kind, _, way = request.param.partition(" ")
    post = make_post(title="old")
    job = _keyed(post) if kind == "keyed" else _single(post)
    if way == "read many":
        fill: Callable[[], object] = lambda: job.get_many([post.pk])  # noqa: E731
    else:
        fill = WAYS[way](job, post)
    key = job.key(post.pk) if kind == "keyed" else "the-title"
    return Filled(name=job.name, job=job, key=key, post=post, fill=fill)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect what only PostgreSQL can show in its own run: `script/test` makes both."""
    if config.getoption("database") != "postgresql" and collection_path.name in ON_POSTGRESQL:
        return True
    return None
