"""Fixtures of the doctor's tests: servers in any state, and checks of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from config import celery_app as project_app
from embedded.redis_server import RedisServer
from tests.package.doctor.support import Examine, Serve
from tests.servers import SuiteRedis
from tests.support.celery_apps import new_app


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a server with options: `serve(maxmemory="1mb")`."""
    with ExitStack() as stack:

        def serve(**options: str) -> RedisServer:
            given = {name.replace("_", "-"): value for name, value in options.items()}
            return stack.enter_context(SuiteRedis(options=given))

        yield serve


@pytest.fixture
def examine(settings: Any) -> Examine:
    """Run a check: `examine("maxmemory", server)`."""
    return Examine(settings)


@pytest.fixture
def broker_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that makes Celery use a broker, with further settings of Celery."""
    apps = []

    def use(url: str, **conf: Any) -> None:
        monkeypatch.setenv("CELERY_BROKER_URL", url)  # Celery prefers it to every setting
        apps.append(new_app(url, **conf))

    yield use
    for app in apps:
        app.close()
    project_app.set_current()
