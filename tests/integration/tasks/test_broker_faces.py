"""What the admin and `warm_cache` do and say while the broker hangs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from embedded.redis_server import RedisServer
from tests.integration.admin.pages import WARM
from tests.integration.commands import ended
from tests.integration.tasks.hanging import names_it
from warmer import tasks, warm
from warmer.models import State, WarmingRun

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_jobs"),
    pytest.mark.timeout(120),  # what waits for ever fails
]


@pytest.mark.usefixtures("quick")
def test_admin__broker_hangs_and_many_jobs_are_asked_for(operator: Client, hanging: RedisServer) -> None:
    for number in range(20):
        warm(f"x{number}", name=f"x{number}")(lambda: 1)
    answer = operator.post(WARM, {"all": "1"}, follow=True)
    assert answer.status_code == 200
    shown = [str(message) for message in answer.context["messages"]]
    assert sum(names_it(text, hanging) for text in shown) >= 3
    assert {run.state for run in WarmingRun.objects.all()} == {"failed"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("flags", [(), ("--workers",), ("--no-wait",), ("--json",)])
def test_warm_cache__broker_hangs_and_the_time_is_over(
    job: Any, hanging: RedisServer, flags: tuple[str, ...]
) -> None:
    status, said = ended("warm_cache", "t", "--timeout", "0.1", *flags)
    assert status == 3
    assert said.startswith("Out of time: the broker does not answer: ")
    assert "Nothing was warmed. CELERY_BROKER_URL must lead to a server that is up" in said
    assert names_it(said, hanging)
    assert "\n" not in said


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("flag", ["--workers", "--no-wait"])
def test_warm_cache__broker_hangs_and_workers_are_asked_for(
    job: Any, hanging: RedisServer, flag: str
) -> None:
    status, said = ended("warm_cache", "t", flag)
    assert status == 1
    assert said.startswith(f"{flag}: the broker does not answer: ")
    assert names_it(said, hanging)


@pytest.mark.usefixtures("quick")
def test_warm_cache__broker_hangs_and_there_is_time_it_is_done_here(job: Any, hanging: RedisServer) -> None:
    status, said = ended("warm_cache", "t", "--timeout", "60")
    assert status == 0
    assert "Warming in this process: the broker does not answer: " in said
    assert names_it(said, hanging)
    assert WarmingRun.objects.get().state == State.COMPLETE


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("flags", "status"), [(("--timeout", "0.2"), 3), (("--no-wait",), 1)])
def test_warm_cache__broker_hangs_once_workers_are_found(
    hanging: RedisServer, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], status: int
) -> None:
    for number in range(20):
        warm(f"x{number}", name=f"x{number}")(lambda: 1)
    monkeypatch.setattr(tasks, "find_workers", lambda *_, **__: tasks.Workers(names=("a",)))
    assert ended("warm_cache", *flags)[0] == status
