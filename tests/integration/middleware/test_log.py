"""What is logged of a request that asks the caches much."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from tests.integration.middleware.counting import get

pytestmark = pytest.mark.usefixtures("own_jobs")


def logged(caplog: pytest.LogCaptureFixture, calls: int, path: str = "/page") -> list[str]:
    def view(request: HttpRequest) -> HttpResponse:
        for number in range(calls):
            cache.get(str(number))
        return HttpResponse()

    caplog.clear()
    get(view, path)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return caplog.messages


def test_log__over_the_number_of_calls(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_TIME = timedelta(0)
    settings.WARMER_LOG_CACHE_CALLS = 5
    assert logged(caplog, 5) == []
    (line,) = logged(caplog, 6)
    assert re.fullmatch(
        r"GET /page spent \d\.\d{3} s in the caches: default: 6 calls, 0 hits, 6 misses", line
    )
    settings.WARMER_LOG_CACHE_CALLS = 0
    assert logged(caplog, 200) == []


def test_log__over_the_time(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 0
    settings.WARMER_LOG_CACHE_TIME = timedelta(microseconds=1)
    assert len(logged(caplog, 1)) == 1
    assert logged(caplog, 0) == []
    settings.WARMER_LOG_CACHE_TIME = timedelta(hours=1)
    assert logged(caplog, 5) == []


def test_log__is_one_line_without_the_query(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.WARMER_LOG_CACHE_CALLS = 1
    (line,) = logged(caplog, 2, "/a%0Aforged line/?token=s3cr3t")
    assert "\n" not in line
    assert "s3cr3t" not in line
    assert line.startswith("GET /a%0Aforged%20line/ spent ")
