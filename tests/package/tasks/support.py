"""What a worker does with messages, and a broker that takes none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import OperationalError as BrokerError

from warmer.models import WarmingRun
from warmer.tasks import start_run, warm_batch


def away(*_args: Any, error: Exception = BrokerError("away"), **_options: Any) -> None:  # noqa: B008
    """Raise what Celery does when the broker takes no message."""
    raise error


def start(run: WarmingRun) -> None:
    """Have a worker start a run."""
    start_run(run.pk)
    run.refresh_from_db()


def work(run: WarmingRun, first: int, last: int) -> None:
    """Have a worker take a message for a lane of a run."""
    warm_batch(run.pk, run.attempt, first, last)
    run.refresh_from_db()


def work_off(run: WarmingRun, messages: list[Any]) -> int:
    """Have workers take all messages, and those that they send; return the most that waited at a time."""
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
