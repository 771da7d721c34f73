"""Samples: every item is as likely as any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from warmer.monitoring.sampling import Sample


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
