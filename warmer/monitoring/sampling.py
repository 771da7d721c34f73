"""Samples: items drawn at random from a stream."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Sample(Iterable[T], Generic[T]):
    """Some of a stream, each item as likely as any other, in the memory of the sample alone.

    Algorithm R: J. S. Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical
    Software 11 (1985), 37-57.

    Args:
        source: gives the stream.
        size: how many to draw.
        seed: draws the same from the same stream.

    Attributes:
        seen: how many the stream held; known once the sample was read.
    """

    def __init__(self, source: Callable[[], Iterable[T]], *, size: int, seed: int | None = None) -> None:
        self.size = size
        self.seen = 0
        self._source = source
        self._random = random.Random(seed)

    @property
    def is_whole(self) -> bool:
        """Whether the sample is all that there was."""
        return self.seen <= self.size

    def __iter__(self) -> Iterator[T]:
        drawn: list[T] = []
        for item in self._source():
            self.seen += 1
            if len(drawn) < self.size:
                drawn.append(item)
            elif (at := self._random.randrange(self.seen)) < self.size:
                drawn[at] = item
        yield from drawn
