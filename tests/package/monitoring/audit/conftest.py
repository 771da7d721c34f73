"""Fixtures of the audits' tests: a job of ten things, on Redis and on a cache of another kind."""

from typing import Any

import pytest
from django.core.cache import cache

from tests.package.monitoring.audit.things import LOCMEM, declare


@pytest.fixture(params=["redis", "locmem"])
def any_cache(request: pytest.FixtureRequest, settings: Any) -> str:
    """Run a test on Redis, and once more on a cache behind Django's interface alone."""
    if request.param == "locmem":
        settings.CACHES = LOCMEM
        cache.clear()
    return str(request.param)


@pytest.fixture
def source() -> dict[Any, Any]:
    """What the loader of `job` gives: ten things."""
    return {number: {"id": number, "name": f"thing {number}"} for number in range(10)}


@pytest.fixture
def job(any_cache: str, source: dict[Any, Any]) -> Any:
    return declare(source)
