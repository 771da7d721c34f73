"""Numbers as a person reads them, and arguments as a person writes them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

import pytest

from warmer.management.arguments import cache_alias, whole_number
from warmer.management.words import counted, percent, size, span


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (5_000 * 2**40, "5,000.0 TiB"),
    ],
)
def test_size(number: float, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (2_000, "2,000 keys")]
)
def test_counted(number: int, text: str) -> None:
    assert counted(number, "key") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90_000, "1 d 1 h"),
        (86_400 * 12 + 59, "12 d"),
    ],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, ""), (0.0, "0 %"), (1.0, "100 %"), (0.5, "50 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %")],
)
def test_percent__is_all_or_nothing_only_when_it_is(share: float | None, text: str) -> None:
    assert percent(share) == text


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
