"""Fixtures of the doctor's tests: servers in any state, and a look at them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import Look, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a server with options: `serve(maxmemory="1mb")`."""
    with ExitStack() as stack:

        def serve(**options: str) -> RedisServer:
            given = {name.replace("_", "-"): value for name, value in options.items()}
            return stack.enter_context(RedisServer(options=given))

        yield serve


@pytest.fixture
def look(settings: Any) -> Look:
    """Make a check of a cache: `look(Maxmemory(), server)`."""
    return Look(settings)
