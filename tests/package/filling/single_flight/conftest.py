"""Fixtures of the single flights' tests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from tests.package.filling.single_flight.support import Flight
from tests.support.readers import KEY, Loader
from warmer import warm_many


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
