"""The arguments of commands."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

import pytest

from warmer.management.arguments import cache_alias, whole_number


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("1,000", 1000), ("1_000", 1000), (" 7 ", 7)])
def test_whole_number(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many"])
def test_whole_number__refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a whole number above 0"):
        whole_number(text)


def test_cache_alias(settings: Any) -> None:
    settings.CACHES = {**settings.CACHES, "second": settings.CACHES["default"]}
    assert cache_alias("second") == "second"
    with pytest.raises(ArgumentTypeError, match="there is no cache 'third': CACHES has 'default', 'second'"):
        cache_alias("third")
