"""The server forgets, or cannot save: what is seen then, and that the page's fixes help."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from myapp.models import Post
from myapp.warming import posts
from tests.package.doctor.support import fail_to_save
from tests.project.operations.page import CacheAt, Page, curl, doctor, manage, states, stats
from tests.support.scraping import scrape
from warmer import jobs
from warmer.invalidation import Relay
from warmer.models import WarmingRun
from warmer.monitoring import health
from warmer.monitoring.observation import cover, observe_all

pytestmark = pytest.mark.django_db(transaction=True)

# A server that has just started holds what the commands themselves have written.
SINCE_ITS_START = [r"^  server +(.*), up (.+)$", r"^  keys +(\d+), (\d+) with"]
TABLE = ("job  ", "---", "user_profiles", "popular_posts", "posts")


def test_not_kept(page: Page, warm_cache_at: CacheAt) -> None:
    server = warm_cache_at()
    server.restart()
    page.shows("not-kept-doctor", doctor("persistence"))
    page.shows("not-kept-stats", stats("server ", "keys ", *TABLE), varies=SINCE_ITS_START)
    observe_all(seconds=10)
    assert scrape()("key_coverage_ratio", job="posts") == 0
    assert states() == dict.fromkeys(jobs, "cold")
    assert "complete" in page.manage("warm_cache")

    page.redis_cli("CONFIG SET appendonly yes")
    assert "appendonly yes" in manage("cache_doctor")
    _await_first_file(server)
    server.options["appendonly"] = "yes"  # as in redis.conf
    server.restart()
    assert cover(posts.spec).share == 1


def test_old_save(page: Page, cache_at: CacheAt, post: Post) -> None:
    server = cache_at(save="900 1 60 1000")
    relay = Relay()
    manage("warm_cache --inline")
    with server.client() as client:
        client.save()
    post.title = "New"
    post.save()
    relay.notice()
    server.kill()
    server.start()
    assert cache.get(f"post:{post.pk}")["title"] != "New"
    page.shows("saves-doctor", doctor("persistence"))
    relay.notice()
    relay.poll()
    assert cache.get(f"post:{post.pk}") is None
    assert "complete" in page.manage("warm_cache")
    page.redis_cli("CONFIG SET appendonly yes")
    assert "warning  persistence" not in manage("cache_doctor")
    _await_first_file(server)


def test_not_saved(page: Page, warm_cache_at: CacheAt) -> None:
    server = warm_cache_at(save="900 1")
    fail_to_save(server)
    page.shows("not-saved-doctor", doctor("writes", "persistence"))
    assert "MISCONF" in manage("warm_cache")
    page.redis_cli("CONFIG SET stop-writes-on-bgsave-error no")
    assert "complete" in page.manage("warm_cache")
    server.kill()  # asked to stop, it would try to save again


def test_cold_after_a_deploy(
    page: Page, warm_cache_at: CacheAt, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_warmed", set())
    monkeypatch.setattr(health, "_migrated", set())
    warm_cache_at()
    WarmingRun.objects.update(finished_at=timezone.now() - timedelta(minutes=5))
    deploy = timezone.now() - timedelta(seconds=1)
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": "release-2"}}
    page.shows("cold-stats", stats("keys ", *TABLE), varies=[r"^  keys +(\d+), (\d+) with"])
    settings.WARMER_READY_REQUIRES_WARM = True
    settings.WARMER_READY_WARM_SINCE = deploy.isoformat(timespec="seconds")
    page.shows("cold-readyz", curl("/readyz"), varies=[r"since (\S+):"])
    assert "complete" in page.manage("warm_cache")
    assert cover(posts.spec).share == 1
    assert curl("/readyz").splitlines()[1].startswith('{"ok": true')


def _await_first_file(server: RedisServer) -> None:
    """Wait until what was there before is in the append-only file, too."""
    with server.client() as client:
        wait_until(
            lambda: not client.info("persistence")["aof_rewrite_in_progress"], what="the append-only file is written"
        )
