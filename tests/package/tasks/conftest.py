"""Fixtures of the tasks' tests: jobs of three batches, a broker without workers, and what is sent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from celery import current_app
from kombu.exceptions import OperationalError as BrokerError

from embedded.redis_server import RedisServer
from tests.package.doctor.conftest import broker_at, serve  # noqa: F401
from tests.package.doctor.support import PASSWORD, Serve
from warmer import runs, tasks, warm_many
from warmer.filling.loading import Batches
from warmer.models import Trigger, WarmingRun
from warmer.runs import batch_queue, execution
from warmer.tasks import broker, start_run, warm_batch

SOON = 0.3


@pytest.fixture
def job() -> Any:
    return warm_many("t:{id}", ids=lambda: range(10), name="t", batch_size=4)(lambda ids: {id: id for id in ids})


@pytest.fixture
def begin() -> Callable[[Any], WarmingRun]:
    """Begin a run of a job, whose batches wait for workers."""

    def begin(job: Any) -> WarmingRun:
        run = runs.start(runs.open_run(job.name, Trigger.COMMAND).run.pk)
        assert run is not None
        batches = Batches(job.spec)
        (count,) = batch_queue.write(run, batches)
        runs.expect(run, batches=count, report=batches.report)
        run.refresh_from_db()
        return run

    return begin


@pytest.fixture
def on_a_broker() -> Iterator[None]:
    """Send messages to the broker, where no worker takes them."""
    current_app.conf.task_always_eager = False
    yield
    current_app.conf.task_always_eager = True
    current_app.control.purge()


class Messages(list[Any]):
    """The messages for batches, which nobody takes.

    Attributes:
        refusals: what sending one raises, in turn; nothing for None, and after the last.
    """

    refusals: Iterator[BaseException | None] = iter(())

    def send(self, args: Any, **_options: Any) -> None:
        if error := next(self.refusals, None):
            raise error
        self.append(args)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Messages:
    """The messages for batches. Each task has time for one batch."""
    for name in ("TASK_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(tasks.runs, name, 0.0)
    sent = Messages()
    monkeypatch.setattr(warm_batch, "apply_async", sent.send)
    return sent


@pytest.fixture
def cancelled_job(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A job in whose second batch the run is cancelled. Each batch is recorded at once."""
    for name in ("CHECK_SECONDS", "RECORD_SECONDS"):
        monkeypatch.setattr(execution, name, 0.0)

    @warm_many("t:{id}", ids=lambda: range(12), name="t", batch_size=4)
    def job(ids: Sequence[int]) -> Mapping[int, int]:
        if 4 in ids:
            runs.cancel(WarmingRun.objects.get(active_job="t"), "ada")
        return {id: id for id in ids}

    return job


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait at most `SOON` for a broker, and avoid one that did not answer for a long time."""
    monkeypatch.setattr(broker, "BROKER_SECONDS", SOON)
    monkeypatch.setattr(broker, "REST_SECONDS", 3600.0)


@pytest.fixture
def hanging(
    impatient: None,
    serve: Serve,  # noqa: F811
    broker_at: Callable[..., Any],  # noqa: F811
) -> RedisServer:
    """A broker that takes connections, and says nothing. Celery's settings have no time-out."""
    server = serve()
    with server.client() as client:
        client.config_set("requirepass", PASSWORD)
    broker_at(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0", broker_transport_options={})
    server.pause()
    return server


@pytest.fixture
def quick(hanging: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test in which a broker that hangs is awaited more than twice, each time as long as is waited."""
    reach = Mock(wraps=broker.reach)
    monkeypatch.setattr(broker, "reach", reach)
    yield
    assert reach.call_count <= 2


AWAY = BrokerError("away")
"""What Celery raises when the broker takes no message."""


def away(*_args: Any, error: BaseException, **_options: Any) -> None:
    """Raise an error, whatever is asked."""
    raise error


def start(run: WarmingRun) -> None:
    """Let a worker start a run."""
    start_run(run.pk)
    run.refresh_from_db()


def work(run: WarmingRun, first: int, last: int) -> None:
    """Let a worker take a message for a lane of a run."""
    warm_batch(run.pk, run.attempt, first, last)
    run.refresh_from_db()


def work_off(run: WarmingRun, messages: list[Any]) -> int:
    """Let workers take all messages, and those that they send; return the most that waited at a time."""
    most = 0
    while messages:
        most = max(most, len(messages))
        warm_batch(*messages.pop(0))
    run.refresh_from_db()
    return most


@contextmanager
def received(task: Any, **request: Any) -> Iterator[None]:
    """Let a call of `task.run` be that of a message that a worker received."""
    task.push_request(**request)
    try:
        yield
    finally:
        task.pop_request()
