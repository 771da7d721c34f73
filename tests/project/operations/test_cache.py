"""The cache does not answer, is slow, or is short of memory: what is seen then, and that the page's fixes help."""

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from embedded.redis_server import RedisServer
from myapp.models import Post
from myapp.warming import posts
from tests.project.operations.page import CacheAt, Page, curl, doctor, excerpt, logged, manage, states, stats
from tests.support.caches import caches_at
from tests.support.fixtures import use_pool
from tests.support.proxy import Proxy
from tests.support.scraping import scrape
from tests.support.waiting import waiting
from warmer import tasks
from warmer.invalidation import Relay
from warmer.models import ChangeRecord, Trigger
from warmer.monitoring.observation import cover, observe_all
from warmer.stores import breaker

pytestmark = pytest.mark.django_db(transaction=True)


# -- away ---------------------------------------------------------------------------------------------
ERROR_NUMBER = r"Error (\d+) connecting"


def test_refused(
    page: Page, warm_cache_at: CacheAt, post: Post, caplog: pytest.LogCaptureFixture, operator: Client
) -> None:
    server = warm_cache_at()
    server.stop()
    page.shows("refused-doctor", doctor("reachability"))
    page.shows("refused-stats", manage("cache_stats"), varies=[ERROR_NUMBER])
    page.shows("refused-warm", manage("warm_cache"), varies=[ERROR_NUMBER])
    breaker.forget()  # as of another process
    page.shows("refused-readyz", curl("/readyz"))
    breaker.forget()
    caplog.clear()
    assert Client().get("/").status_code == 200
    post.save()
    page.shows("refused-log", logged(caplog.records, "warmer.stores.breaker"), varies=[ERROR_NUMBER])

    assert tasks.request_run("posts", Trigger.SCHEDULE).run.state == "failed"
    observe_all(seconds=10)
    told = scrape()
    assert told("cache_up", job="posts") == 0
    assert told("pending_invalidations") == 1
    assert told("observation_failing", job="posts") == 1
    assert told("last_run_state", job="posts", state="failed") == 1
    assert states()["posts"] == "failed"
    assert "does not answer" in operator.get("/admin/warmer/").content.decode()

    server.start()
    page.manage("warm_listen --once")
    assert not waiting()
    assert "complete" in page.manage("warm_cache")
    assert "error: " not in page.manage("cache_doctor")


def test_hanging(page: Page, warm_cache_at: CacheAt, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    server, patient = warm_cache_at(), settings.CACHES
    use_pool(settings, "impatient", socket_timeout=0.5, socket_connect_timeout=0.5)
    server.pause()
    page.shows("hanging-doctor", doctor("reachability"))
    caplog.clear()
    assert Client().get("/users/42/").status_code == 200
    page.shows("hanging-log", logged(caplog.records, "warmer.stores.breaker"))
    server.resume()
    settings.CACHES = patient
    assert "error: " not in manage("cache_doctor")


def test_invalidations_wait(page: Page, warm_cache_at: CacheAt, post: Post, caplog: pytest.LogCaptureFixture) -> None:
    server = warm_cache_at(appendonly="yes", appendfsync="always")
    server.kill()
    Post.objects.get(pk=post.pk).save()
    ChangeRecord.objects.update(recorded_at=timezone.now() - timedelta(minutes=6, seconds=10))
    caplog.set_level(logging.WARNING, "warmer.invalidation")
    caplog.clear()
    breaker.forget()  # a worker is a process of its own
    Relay().run(lambda _seconds: True)
    page.shows("waiting-log", logged(caplog.records, "warmer.invalidation"), varies=[ERROR_NUMBER])

    server.start()  # and no worker sees to it
    assert cache.get(f"post:{post.pk}") is not None
    page.shows("waiting-doctor", doctor("pending-invalidations"), varies=[r"6 min (\d+) s\)\.$"])
    page.shows("waiting-stats", stats("Pending"), varies=[r"6 min (\d+) s\)$"])
    page.manage("warm_listen --once")
    assert cache.get(f"post:{post.pk}") is None
    assert "Pending invalidations: none" in manage("cache_stats")


# -- slow ---------------------------------------------------------------------------------------------
MANY_KEYS = "for n = 1, 200000 do redis.call('SET', KEYS[1] .. ARGV[1] + n, 1) end"


def hold_up(server: RedisServer) -> None:
    """Ask for keys by a pattern, of more and more, until it takes so long that it is in the slow log."""
    with server.client() as client:
        for more in range(100):
            if client.slowlog_len():
                return
            client.config_set("slowlog-log-slower-than", -1)
            client.eval(MANY_KEYS, 1, ":1:cart:", more * 200_000)
            client.config_set("slowlog-log-slower-than", 10_000)
            client.keys(":1:user:*:profile")
    raise AssertionError("no command was slow")


def test_slow_command(page: Page, warm_cache_at: CacheAt) -> None:
    server = warm_cache_at()
    hold_up(server)
    page.shows("slow-doctor", doctor("slow-log"), varies=[r"profile \((\d+) ms\)"])
    page.shows("slow-stats", stats("slow log"), varies=[r"profile \((\d+) ms\)"])
    (entry, *_) = page.redis_cli("SLOWLOG GET 10")
    assert b"127.0.0.1" in (entry["client_address"] if isinstance(entry, dict) else entry[4])


def test_slow_way(page: Page, warm_cache_at: CacheAt, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = warm_cache_at()
    with Proxy(server, seconds=0.06) as proxy:
        settings.CACHES = caches_at(proxy.url)
        caplog.clear()
        assert Client().get("/").status_code == 200
        (line,) = logged(caplog.records, "warmer.monitoring.middleware").splitlines()
        page.shows("slow-log", line, varies=[r"spent ([\d.]+) s"])
        printed = stats("read/write", "slow log")
        page.shows("slow-connection", printed, varies=[r"OK \(([\d.]+) ms\)"])
        assert float(re.findall(r"OK \(([\d.]+) ms", printed)[0]) > 100


# -- memory -------------------------------------------------------------------------------------------
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
