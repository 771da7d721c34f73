"""The cache is slow: what is seen then, and that the page's fixes help."""

import re
from typing import Any

import pytest
from django.test import Client

from config.redis_url import cache_settings
from embedded.redis_server import RedisServer
from tests.project.operations.page import Page
from tests.project.operations.terminal import CacheAt, doctor, logged, stats
from tests.support.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True)

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
        settings.CACHES = {"default": cache_settings(proxy.url, max_connections=5)}
        caplog.clear()
        assert Client().get("/").status_code == 200
        (line,) = logged(caplog.records, "warmer.monitoring.middleware").splitlines()
        page.shows("slow-log", line, varies=[r"spent ([\d.]+) s"])
        printed = stats("read/write", "slow log")
        page.shows("slow-connection", printed, varies=[r"OK \(([\d.]+) ms\)"])
        assert float(re.findall(r"OK \(([\d.]+) ms", printed)[0]) > 100
