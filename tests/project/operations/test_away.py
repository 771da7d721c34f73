"""The cache does not answer: what is seen then, and that the page's fixes help."""

import logging
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from myapp.models import Post
from tests.project.operations.page import Page
from tests.project.operations.terminal import CacheAt, curl, doctor, logged, manage, states, stats
from tests.support.scraping import scrape
from tests.support.waiting import waiting
from warmer import tasks
from warmer.invalidation import Relay
from warmer.models import ChangeRecord, Trigger
from warmer.monitoring.observation import observe_all
from warmer.stores import breaker

pytestmark = pytest.mark.django_db(transaction=True)

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


def test_hanging(page: Page, warm_cache_at: CacheAt, caplog: pytest.LogCaptureFixture) -> None:
    server = warm_cache_at()
    server.pause()
    page.shows("hanging-doctor", doctor("reachability"))
    caplog.clear()
    assert Client().get("/users/42/").status_code == 200
    page.shows("hanging-log", logged(caplog.records, "warmer.stores.breaker"))
    server.resume()
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
