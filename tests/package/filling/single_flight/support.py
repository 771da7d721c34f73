"""Readers of a cold job's keys in threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis

from embedded.waiting import wait_until
from tests.support.readers import PATIENCE_SECONDS, Loader, claims_and_writes
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
    def loading(self, id: int = 1, *, at: str = "loaded") -> Iterator[Future[Any]]:
        """Hold a reader of an id while it loads."""
        with hold(at, job="cold") as point:
            reader = self.start(self.job.get, id)
            point.wait()
            yield reader
