"""What a sample says is no more than it can."""

from __future__ import annotations

import math

import pytest

from warmer.monitoring.audit.confidence import percent_right, wrong_at_most


def exact_limit(wrong: int) -> float:
    """The mean at which so few events or fewer have a chance of 5 %: of Poisson's distribution."""
    low, high = 0.0, 1000.0
    for _ in range(100):
        mean = (low + high) / 2
        terms = (math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(wrong + 1))
        low, high = (mean, high) if sum(terms) > 0.05 else (low, mean)
    return low


@pytest.mark.parametrize("judged", [4, 100, 1000, 123_456])
def test_wrong_at_most__none_wrong_is_the_rule_of_three(judged: int) -> None:
    assert wrong_at_most(0, judged) == 3 / judged


@pytest.mark.parametrize("wrong", [0, 1, 2, 5, 10, 100, 500])
def test_wrong_at_most__is_poissons_limit(wrong: int) -> None:
    assert wrong_at_most(wrong, 10_000) == pytest.approx(exact_limit(wrong) / 10_000, rel=0.005)


def test_wrong_at_most__one_more_wrong_is_never_better() -> None:
    limits = [wrong_at_most(wrong, 1000) for wrong in range(1001)]
    assert limits == sorted(limits)
    assert all(limit > wrong / 1000 for wrong, limit in enumerate(limits[:900]))
    assert limits[-1] == 1


@pytest.mark.parametrize(("wrong", "judged"), [(0, 0), (0, 1), (0, 3), (1, 1)])
def test_wrong_at_most__too_few_say_nothing(wrong: int, judged: int) -> None:
    assert wrong_at_most(wrong, judged) == 1


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "100 %"),
        (1, "0 %"),
        (0.5, "50 %"),
        (1 / 3, "66 %"),
        (3 / 100, "97 %"),
        (3 / 299, "98 %"),
        (3 / 300, "99 %"),
        (3 / 301, "99.0 %"),
        (3 / 1000, "99.7 %"),
        (3 / 3000, "99.9 %"),
        (3 / 5000, "99.94 %"),
        (3 / 30_000, "99.99 %"),
        (3 / 1_000_000, "99.9997 %"),
        (1 / 1_000_000_000, "99.9999999 %"),
    ],
)
def test_percent_right__says_no_more_than_the_share(share: float, text: str) -> None:
    assert percent_right(share) == text
    assert float(text.split()[0]) / 100 <= 1 - share + 1e-12
