"""Fixtures of the single flights' tests: a loader that keeps its calls, and readers in threads."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from embedded.waiting import wait_until
from tests.support.readers import KEY, PATIENCE_SECONDS, Loader, Loading, Missed, Start, claims_and_writes
from warmer import warm_many
from warmer.testing import hold


@pytest.fixture(autouse=True)
def _patient(settings: Any) -> None:
    # So that a test in which a reader waits in vain fails for that, and not for a slow machine: no claim ends
    # by itself before the wait does, after which nothing is stored.
    settings.WARMER_READ_WAIT, settings.WARMER_READ_CLAIM = timedelta(seconds=20), timedelta(seconds=60)


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a call in a thread."""
    with ThreadPoolExecutor(60) as pool:
        yield pool.submit


@pytest.fixture
def missed(redis_client: Redis) -> Missed:
    """Return a function that waits until so many readers have missed: each has asked for a claim."""
    cold: Any = warm_many("other:{id}", ids=list, name="other")(lambda ids: {})
    cold.get(1)  # the server knows the scripts from now on
    redis_client.flushdb()
    redis_client.config_resetstat()

    def wait(readers: int) -> None:
        wait_until(
            lambda: claims_and_writes(redis_client) >= readers,
            seconds=PATIENCE_SECONDS,
            what=f"{readers} readers have missed",
        )

    return wait


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def job(loader: Loader) -> Any:
    return warm_many(KEY, ids=list, name="cold", batch_size=4)(loader)


@pytest.fixture
def loading(start: Start, job: Any) -> Loading:
    """Return a context in which a reader of an id is held while it loads."""

    @contextmanager
    def held(id: int, *, at: str = "loaded") -> Iterator[Future[Any]]:
        with hold(at, job="cold") as point:
            reader = start(job.get, id)
            point.wait()
            yield reader

    return held
