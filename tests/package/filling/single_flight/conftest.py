"""Readers of a cold job's keys in threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from embedded.waiting import wait_until
from tests.support.readers import KEY, PATIENCE_SECONDS, Loader, claims_and_writes
from warmer import warm_many
from warmer.testing import hold


@dataclass
class Flight:
    """A cold job, its loader, and `start`, which calls a function in a thread."""

    job: Any
    loader: Loader
    server: Redis
    start: Callable[..., Future[Any]]

    def missed(self, scripts: int) -> None:
        """Wait until so many scripts ran: a reader that misses asks for a claim, and then writes."""
        ran = lambda: claims_and_writes(self.server) >= scripts  # noqa: E731
        wait_until(ran, seconds=PATIENCE_SECONDS, what=f"{scripts} scripts ran")

    def readers(self, count: int, *, id: int = 1, missed: int | None = None) -> list[Future[Any]]:
        """Start readers of an id beside one that loads, and wait until all have missed.

        Args:
            missed: how many scripts run until then; default: one for each reader, and one for the first.
        """
        readers = [self.start(self.job.get, id) for _ in range(count)]
        self.missed(count + 1 if missed is None else missed)
        return readers

    @contextmanager
    def loading(self, *ids: int, at: str = "loaded") -> Iterator[Future[Any]]:
        """Hold a reader of an id (default: 1), or of many, while it loads."""
        with hold(at, job="cold") as point:
            reader = self.start(self.job.get_many, ids) if len(ids) > 1 else self.start(self.job.get, *(ids or (1,)))
            point.wait()
            yield reader


@pytest.fixture(autouse=True)
def _patient(settings: Any) -> None:
    # So that a test in which a reader waits in vain fails for that, and not for a slow machine: no claim ends
    # by itself before the wait does, after which nothing is stored.
    settings.WARMER_READ_WAIT, settings.WARMER_READ_CLAIM = timedelta(seconds=20), timedelta(seconds=60)


@pytest.fixture
def flight(redis_client: Redis) -> Iterator[Flight]:
    """A cold job, and readers of its keys in threads."""
    cold: Any = warm_many("other:{id}", ids=list, name="other")(lambda ids: {})
    cold.get(1)  # the server knows the scripts from now on
    redis_client.flushdb()
    redis_client.config_resetstat()
    loader = Loader()
    with ThreadPoolExecutor(60) as pool:
        job = warm_many(KEY, ids=list, name="cold", batch_size=4)(loader)
        yield Flight(job=job, loader=loader, server=redis_client, start=pool.submit)
