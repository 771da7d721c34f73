"""Fixtures of the middleware's tests: everyone is told, on caches of every kind."""

from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from tests.package.monitoring.middleware.counting import LOCMEM


@pytest.fixture(autouse=True)
def _shown_to_everyone_and_logged(settings: Any) -> None:
    settings.WARMER_SERVER_TIMING = True
    settings.WARMER_LOG_CACHE_CALLS = 1


@pytest.fixture(params=["redis", "locmem", "files"])
def any_cache(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    """Run a test on each kind of cache."""
    if request.param == "locmem":
        settings.CACHES = {"default": {"BACKEND": LOCMEM, "LOCATION": "monitoring"}}
    elif request.param == "files":
        backend = "django.core.cache.backends.filebased.FileBasedCache"
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": tmp_path}}
    cache.clear()
    return str(request.param)
