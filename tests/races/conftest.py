"""Fixtures of the races: a job over real rows, for every way in which it is filled."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from myapp.models import Post
from tests.support.clusters import cluster, cluster_caches
from tests.support.fixtures import make_comment, make_post, make_user, own_jobs
from tests.support.keyed import titles
from warmer import warm
from warmer.invalidation import captures_by_triggers
from warmer.models import Trigger
from warmer.tasks import request_refresh, request_run

__all__ = ["cluster", "make_comment", "make_post", "make_user", "own_jobs"]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A job over one post's title, with one way of filling its key once: `fill`."""

    name: str
    job: Any
    key: str
    post: Post
    fill: Callable[[], object]

    @property
    def cached(self) -> Any:
        return cache.get(self.key)

    def change(self, title: str) -> None:
        post = Post.objects.get(pk=self.post.pk)
        post.title = title
        post.save()


def _keyed(post: Post) -> Any:
    return titles(ids=lambda: [post.pk], name="titles", depends_on={Post: "id"})


def _single(post: Post) -> Any:
    return warm("the-title", name="title", depends_on=[Post])(
        lambda: Post.objects.values_list("title", flat=True).get(pk=post.pk)
    )


# A snapshot that others commit past, and many writers at once: SQLite has neither.
ON_POSTGRESQL = ("test_snapshot.py", "test_random.py", "test_writers.py")
# What Django's signals do not tell of, or cannot before the commit.
ON_TRIGGERS = (*("test_far_paths.py", "test_fingerprints.py", "test_killed.py"), *("test_random.py", "test_writers.py"))

WAYS: dict[str, Callable[[Any, Post], Callable[[], object]]] = {
    "warm": lambda job, post: job.warm,
    "read": lambda job, post: lambda: job.get(*([post.pk] if job.spec.keyed else [])),
    "run": lambda job, post: lambda: request_run(job.name, Trigger.COMMAND),
    "refresh": lambda job, post: lambda: request_refresh(job.spec),
    "read many": lambda job, post: lambda: job.get_many([post.pk]),
}
FILLED = [
    *(f"single {way}" for way in WAYS if way != "read many"),
    *(f"keyed {way}" for way in WAYS),
    *(f"keyed {way} on a cluster" for way in ("warm", "read", "read many")),
]


@pytest.fixture(params=FILLED)
def filled(request: pytest.FixtureRequest, make_post: Any, own_jobs: None, settings: Any) -> Filled:
    """A job, with one of the ways of filling it."""
    kind, _, way = request.param.partition(" ")
    way, on_a_cluster, _ = way.partition(" on a cluster")
    if on_a_cluster:
        settings.CACHES = cluster_caches(request.getfixturevalue("cluster"))
        cache.clear()
    post = make_post(title="old")
    job = _keyed(post) if kind == "keyed" else _single(post)
    key = job.key(post.pk) if kind == "keyed" else "the-title"
    return Filled(name=job.name, job=job, key=key, post=post, fill=WAYS[way](job, post))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect only what the database and the capture of this run can show."""
    name = collection_path.name
    is_for_others = (name in ON_POSTGRESQL and config.getoption("database") != "postgresql") or (
        name in ON_TRIGGERS and not captures_by_triggers()
    )
    return True if is_for_others else None
