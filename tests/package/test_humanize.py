"""Numbers as people read them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from warmer.humanize import ago, by_reason, counted, duration, percent, size


@pytest.mark.parametrize(
    ("seconds", "text", "rough"),
    [
        (0, "0 s", "0 s"),
        (0.42, "0.4 s", "0 s"),
        (2.0, "2 s", "2 s"),
        (59.6, "1 min", "60 s"),
        (150, "2 min 30 s", "2 min"),
        (3_599, "59 min 59 s", "60 min"),
        (3_605, "1 h", "60 min"),
        (5_400, "1 h 30 min", "90 min"),
        (90_000, "1 d 1 h", "25 h"),
        (timedelta(days=12, seconds=59), "12 d", "12 d"),
    ],
)
def test_duration(seconds: float | timedelta, text: str, rough: str) -> None:
    assert duration(seconds) == text
    assert duration(seconds, rough=True) == rough


def test_ago() -> None:
    assert ago(timezone.now() - timedelta(minutes=90, seconds=9)) == "90 min ago"
    assert ago(timezone.now() + timedelta(minutes=1)) == "0 s ago"


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.5, "50 %"), (0.99999, "99.9 %"), (0.00001, "0.1 %")]
)
def test_percent__is_all_or_nothing_only_when_exact(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1_023, "1,023 bytes"),
        (1_024, "1 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (3 * 2**30, "3 GiB"),
        (5_000 * 2**40, "5,000 TiB"),
    ],
)
def test_size(number: float, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (2_000, "2,000 keys")])
def test_counted(number: int, text: str) -> None:
    assert counted(number, "key") == text


def test_by_reason__names_each_reason_once() -> None:
    failures = [*((name, "it is full") for name in "abc"), ("d", "it is slow")]
    assert by_reason(failures) == ["a, b, c: it is full", "d: it is slow"]
    assert by_reason(failures, at_most=2) == ["a, b and 1 more: it is full", "d: it is slow"]
    assert by_reason([]) == []
