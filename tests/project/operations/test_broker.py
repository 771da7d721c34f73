"""The broker does not answer: what is seen then, and that the page's fixes help."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from embedded.redis_server import RedisServer
from tests.package.admin.pages import act
from tests.package.doctor.support import Serve
from tests.project.operations.page import Page
from tests.project.operations.terminal import CacheAt, doctor, excerpt, logged, manage
from warmer import tasks
from warmer.models import Trigger, WarmingRun

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker(
    page: Page, warm_cache_at: CacheAt, serve: Serve, broker_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> RedisServer:
    """A broker that hangs; the page names it as it does the cache elsewhere."""
    monkeypatch.setattr(tasks.broker, "BROKER_SECONDS", 0.5)
    warm_cache_at()
    server = serve()
    broker_at(server.url(1))
    page.server = server
    server.pause()
    return server


def test_hanging(page: Page, broker: RedisServer, operator: Client, caplog: pytest.LogCaptureFixture) -> None:
    page.shows("broker-doctor", doctor("broker"))
    tasks.broker.forget()
    page.shows("broker-workers", manage("warm_cache --workers"))
    tasks.broker.forget()
    page.shows("broker-here", excerpt(manage("warm_cache"), "Warming in this process"))
    tasks.broker.forget()
    caplog.set_level(logging.WARNING, "warmer.tasks")
    caplog.clear()
    run = tasks.request_run("posts", Trigger.SCHEDULE).run
    page.shows("broker-log", logged(caplog.records, "warmer.tasks"), varies=[r"send run (\d+) of"])
    assert run.state == "failed"
    answer = act(operator, "warm posts", follow=True)
    assert "The broker does not answer" in " ".join(map(str, answer.context["messages"]))

    broker.resume()
    tasks.broker.forget()
    assert "CommandError: 1 error: workers" in page.manage("cache_doctor")  # there are none here
    assert "complete" in page.manage("warm_cache")
    assert WarmingRun.objects.latest("id").state == "complete"
