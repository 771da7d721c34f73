"""Fixtures of the bypass detector's tests: a bypass raises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from warmer import bypass


@pytest.fixture
def raising(settings: Any) -> Iterator[None]:
    bypass.forget()
    settings.WARMER_BYPASS = "raise"
    yield
    bypass.forget()
