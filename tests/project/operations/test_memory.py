"""Memory is short, or grows: what is seen then, and that the page's fixes help."""

import pytest
from django.core.cache import cache
from django.test import Client

from embedded.redis_server import RedisServer
from myapp.models import Post
from myapp.warming import posts
from tests.project.operations.page import Page
from tests.project.operations.terminal import CacheAt, doctor, excerpt, logged, manage, stats
from tests.support.scraping import scrape
from tests.support.waiting import waiting
from warmer.monitoring.coverage import cover
from warmer.monitoring.observation import observe_all

pytestmark = pytest.mark.django_db(transaction=True)

MEMORY = [r"^  memory +([\d.]+ MiB), ([\d.]+) % of ([\d.]+) MiB", r"peak ([\d.]+ MiB)"]


def fill(server: RedisServer, *, keys: int, seconds: int | None = 3600) -> None:
    """Write keys of 10 kB that are no job's."""
    with server.client() as client:
        for number in range(keys):
            client.set(f":1:report:{number}", "x" * 10_000, ex=seconds)


def test_full(page: Page, cache_at: CacheAt, post: Post, caplog: pytest.LogCaptureFixture) -> None:
    server = cache_at(maxmemory_policy="noeviction")
    fill(server, keys=300)
    with server.client() as client:  # as one that filled up, but for what a few connections take
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) * 96 // 100)
    page.shows("full-doctor", doctor("writes", "maxmemory-policy"), varies=[r"is ([\d.]+) % full"])
    page.shows("full-stats", stats("read/write", "memory", "evicted"), varies=MEMORY)
    caplog.clear()
    printed = manage("warm_cache")
    page.shows("full-warm", excerpt(printed, r"\w+: failed", "popular_posts: the cache"), varies=[r" in ([\d.]+) s:"])
    page.shows("full-log", logged(caplog.records, "warmer.filling.pipeline").splitlines()[0])
    assert Client().get("/").status_code == 200
    post.save()
    assert not waiting()  # what only deletes is allowed
    assert posts.spec.store.lookup([f"post:{post.pk}"]).values == {}

    page.redis_cli("CONFIG SET maxmemory-policy allkeys-lru")
    assert "complete" in page.manage("warm_cache")
    assert "error: " not in manage("cache_doctor")


def test_evicting(page: Page, warm_cache_at: CacheAt) -> None:
    server = warm_cache_at(maxmemory="3mb", maxmemory_policy="allkeys-lru")
    fill(server, keys=600)
    page.shows("evicting-doctor", doctor("evictions"), varies=[r"([1-9]\d*) keys evicted in the (\S+ \S+) since"])
    page.shows("evicting-stats", stats("memory", "evicted"), varies=[*MEMORY, r"evicted +([1-9]\d*) keys"])
    observe_all(seconds=10)
    assert scrape()("key_coverage_ratio", job="posts") < 0.9

    page.redis_cli("CONFIG SET maxmemory 256mb")
    page.manage("warm_cache")
    fill(server, keys=600)
    assert cover(posts.spec).share == 1


def test_growing(page: Page, warm_cache_at: CacheAt) -> None:
    server = warm_cache_at()
    fill(server, keys=40, seconds=None)
    cache.set("everything", "x" * 3_000_000, 3600)
    with server.client() as client:
        client.set(":1:everything", "x" * 3_000_000, ex=3600)
    page.shows(
        "growing-doctor",
        doctor("maxmemory", "keys-without-ttl", "big-keys"),
        varies=[
            r"In use: (\S+ MiB) of the machine's (\S+ .iB)\.",
            r"(\d+) of (\d+) sampled keys \(([\d.]+) %\)",
            r"1 of (\d+) sampled keys",
            r"everything \((\S+) MiB\)",
        ],
    )
    page.redis_cli("CONFIG SET maxmemory 256mb")
    page.redis_cli("CONFIG SET maxmemory-policy allkeys-lru")
    printed = manage("cache_doctor")
    assert "of 256 MiB used" in printed
    assert "maxmemory-policy: allkeys-lru" in printed
