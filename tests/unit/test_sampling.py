"""Samples: every id is as likely as any other, and what a sample says is no more than it can."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest

from warmer.sampling import Sample, Seen, percent_right, wrong_at_most


def test_sample__is_drawn_without_repeats() -> None:
    drawn = list(Sample(lambda: range(1000), size=100, seed=1))
    assert len(drawn) == len(set(drawn)) == 100
    assert set(drawn) <= set(range(1000))


def test_sample__same_seed_draws_the_same() -> None:
    def draw(seed: int | None) -> list[int]:
        return list(Sample(lambda: range(1000), size=10, seed=seed))

    assert draw(1) == draw(1) != draw(2)
    assert draw(None) != draw(None)


def test_sample__larger_than_the_stream_is_all_of_it() -> None:
    sample = Sample(lambda: range(5), size=5)
    assert list(sample) == [0, 1, 2, 3, 4]
    assert sample.is_whole
    smaller = Sample(lambda: range(6), size=5)
    assert len(list(smaller)) == 5
    assert not smaller.is_whole


def test_sample__every_item_is_as_likely() -> None:
    counts: Counter[int] = Counter()
    for seed in range(2000):
        counts.update(Sample(lambda: range(20), size=5, seed=seed))
    # 500 are expected of each; the standard deviation is 19.4.
    assert all(400 < counts[item] < 600 for item in range(20))


def test_sample__holds_no_more_than_its_size() -> None:
    alive = most = 0

    class Item:
        def __init__(self) -> None:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[Item]:
        for _ in range(10_000):
            yield Item()

    assert len(list(Sample(stream, size=10))) == 10
    assert most <= 13


def test_seen__remembers_what_came_by() -> None:
    seen = Seen()
    assert all(seen.add(str(number)) for number in range(10_000))
    assert not any(seen.add(str(number)) for number in range(10_000))


def test_seen__memory_does_not_grow() -> None:
    seen = Seen()
    before = len(seen._bits)
    for number in range(10_000):
        seen.add(str(number))
    assert len(seen._bits) == before == 2**20


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
