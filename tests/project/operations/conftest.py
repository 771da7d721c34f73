"""Fixtures of the page for who is on call: a site, and its cache's server in any state."""

import os
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401
from tests.package.doctor.support import Serve
from tests.project.operations.page import CacheAt, Page, manage
from tests.support.caches import caches_at
from warmer.doctor.checks import connection


@pytest.fixture(autouse=True)
def _site(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Make the commands' lines as long as the page's, wherever the tests run, and let `/metrics` answer."""
    monkeypatch.setenv("COLUMNS", "100")
    settings.WARMER_METRICS = True
    # These tests wait longer than a site may, as the machine may be busy; the doctor would say so.
    monkeypatch.setattr(connection, "LONGEST_TIMEOUT", 20.0)


@pytest.fixture
def page(pytestconfig: pytest.Config) -> Page:
    """docs/operations.md."""
    write = pytestconfig.getoption("--write-docs")
    assert not (write and "PYTEST_XDIST_WORKER" in os.environ), "--write-docs: one process, without -n"
    return Page(write=write)


@pytest.fixture
def cache_at(serve: Serve, settings: Any, page: Page) -> CacheAt:  # noqa: F811
    """Return a function that starts a server with options and makes it the site's cache."""

    # The entries of the schedule are as old as the test run; on the page they were made a moment ago.
    PeriodicTask.objects.update(date_changed=timezone.now())

    def start(**options: str) -> RedisServer:
        server = serve(**options)
        settings.CACHES = caches_at(server.url())
        page.server = server
        return server

    return start


@pytest.fixture
def warm_cache_at(cache_at: CacheAt, post: Post) -> CacheAt:
    """Return a function that does so, and warms it."""

    def start(**options: str) -> RedisServer:
        server = cache_at(**options)
        manage("warm_cache --inline")
        return server

    return start


@pytest.fixture
def post(make_user: Any, make_post: Any) -> Post:
    """One of three posts; each author's profile and each post is a warm key."""
    for number in (1, 2, 3):
        author = make_user(id=40 + number, username=f"ada{number}", first_name="Ada", last_name="Old")
        make_post(id=number, author=author)
    return Post.objects.get(pk=1)
